// SPDX-License-Identifier: AGPL-3.0-only
//
// What a supervised call gets for an answer, and what is done and recorded for it. One object serves all the
// threads of a supervisor.
//
//   caller → copy of the image → what it is → the judge → the kernel's own errno, a refusal, or a pretence
//
// All that is read of the caller is read before the answer. What then is left to be done for the record takes
// longer than the call, and is another thread's (deferred.hpp).
#pragma once

#include "core/judge.hpp"
#include "enforce/process/caller.hpp"
#include "enforce/process/deferred.hpp"
#include "enforce/process/image_copy.hpp"
#include "enforce/process/kernel_modules.hpp"
#include "enforce/process/known_processes.hpp"
#include "enforce/process/lender.hpp"
#include "enforce/process/log_order.hpp"
#include "enforce/process/seccomp.hpp"
#include "events/recorder.hpp"

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

namespace kmodguard::process {

struct Limits {
    std::uint64_t image_bytes = 512ULL << 20U; ///< of one image, and of what is compressed in it
    /// The same of a caller that may load nothing: it is looked at for the record alone.
    std::uint64_t powerless_bytes = 16ULL << 20U;
    std::uint64_t memory = 1ULL << 30U; ///< of the copies that are held at one time; others wait
    /// The same of all callers that may load nothing: others get EPERM without being looked at. Room for one
    /// of the largest that is compressed, with what it decompresses to.
    std::uint64_t powerless_memory = 64ULL << 20U;
    std::size_t threads = 64; ///< calls answered at one time; others wait
    /// Processes that are known when they call again. Each takes five descriptors.
    std::size_t known_processes = 16;
};

struct SupervisorSettings {
    std::string container = {}; ///< its id, for events; "" where there is none
    Limits limits = {};
    /// The memory for callers that may load nothing, which several supervisors may share; nullptr: one of its
    /// own, as large as `limits` say.
    std::shared_ptr<MemoryBudget> powerless = nullptr;
    /// The only user namespace whose callers modules are loaded for, by its inode number: a container's own.
    /// nullopt: any that root made.
    std::optional<std::uint64_t> user_namespace = std::nullopt;
};

class Responder {
  public:
    /// All but the settings must outlive it.
    Responder(const Listener& listener, core::Judge& judge, KernelModules& kernel, events::Recorder& recorder,
              const SupervisorSettings& settings);

    /// Answers one call, and records it. Returns when the call has returned.
    void respond(const Notification& notification);
    /// Records all calls that have been answered: returns when the recorder has them.
    void finish_records() { deferred_.finish(); }
    /// Gives up the order of modules.log for what waits for attempts that hang.
    void release_log() { log_order_.release(); }

  private:
    using Time = events::WallClock::time_point;
    /// Whether a caller could load anything at all, whatever the policy says.
    enum class Power { some, none };
    /// The image that a call brings.
    struct Brought {
        MemoryBudget::Share share; ///< outlives the bytes
        modules::Buffer bytes{0};
        core::ImageFacts facts;
        bool lacks_hash = false; ///< the facts are of the bytes as they are, without their hash
        std::shared_ptr<SeenImage> seen = nullptr; ///< what has the same bytes, if they were seen before
    };

    void respond_to_load(const Notification& notification);
    void respond_to_unload(const Notification& notification);
    [[nodiscard]] bool is_loaded_already(const Caller& caller, const core::ImageFacts& facts,
                                         events::Attempt& event);
    [[nodiscard]] static int refuse(events::Attempt& event, const Refusal& refusal);
    void refuse_unseen(const Notification& notification, int error, const std::string& why);
    /// The copied image, and what it is; the hash only where it is not to be deferred.
    [[nodiscard]] Taken<Brought> take(const Notification& notification, const Look& look, Power power,
                                      std::string& path);
    [[nodiscard]] Taken<MemoryBudget::Share> reserve(const Notification& notification, std::uint64_t size,
                                                     Power power);
    void identify(const Notification& notification, Brought& image, const Look& look, std::uint64_t limit);
    [[nodiscard]] core::ImageFacts identify_decompressed(const modules::Buffer& bytes, std::uint64_t limit);
    [[nodiscard]] core::Decision judge(Brought& image);
    [[nodiscard]] static std::shared_ptr<SeenImage> keep_image(Brought image, const Look& look);
    [[nodiscard]] int load(const Notification& notification, const Caller& caller, Brought image,
                           events::Attempt& event);
    [[nodiscard]] int lend(const Notification& notification, const Caller& caller, Brought image,
                           events::Attempt& event);
    void record_needed(events::Attempt event, const Lender::Attempt& tried);
    void record_unjudged(const Notification& notification, Time began, bool powerless,
                         std::optional<DeferredRecord::Line> line = std::nullopt);
    void finish(const Notification& notification, int result, DeferredRecord record);
    [[nodiscard]] events::Attempt event_of(const Notification& notification, const Look& look, Time began,
                                           core::Decision decision) const;
    [[nodiscard]] static bool is_powerless(const Look& look);

    const Listener& listener_;
    core::Judge& judge_;
    KernelModules& kernel_;
    events::Recorder& recorder_;
    std::string container_;
    Limits limits_;
    LogOrder log_order_;
    MemoryBudget budget_;
    std::shared_ptr<MemoryBudget> powerless_;
    KnownProcesses processes_;
    std::mutex decompressing_; ///< one at a time: what is compressed may decompress to the limit
    core::Decision unjudged_;  ///< of a caller that is gone before more is known
    Lender lender_;
    Deferred deferred_; ///< the last: what it does uses the others
};

} // namespace kmodguard::process
