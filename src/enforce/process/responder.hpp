// SPDX-License-Identifier: AGPL-3.0-only
//
// What a supervised call gets for an answer, and what is done and recorded for it. One object serves all the
// threads of a supervisor.
//
//   caller → copy of the image → what it is → the judge → the kernel's own errno, a refusal, or a pretence
#pragma once

#include "core/judge.hpp"
#include "enforce/process/caller.hpp"
#include "enforce/process/image_copy.hpp"
#include "enforce/process/kernel_modules.hpp"
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
    /// Gives up the order of modules.log for what waits for attempts that hang.
    void release_log() { log_order_.release(); }

  private:
    void respond_to_load(const Notification& notification);
    void respond_to_unload(const Notification& notification);
    [[nodiscard]] bool is_loaded_already(const Caller& caller, const core::ImageFacts& facts,
                                         events::Attempt& event);
    [[nodiscard]] static int refuse(events::Attempt& event, const Refusal& refusal);
    void refuse_unseen(const Notification& notification, int error, const std::string& why);
    /// Whether a caller could load anything at all, whatever the policy says.
    enum class Power { some, none };
    /// The copied image, and what it is.
    [[nodiscard]] Taken<ImageCopy> take(const Notification& notification, const Caller& caller, Power power,
                                        std::string& path);
    [[nodiscard]] Taken<MemoryBudget::Share> reserve(const Notification& notification, std::uint64_t size,
                                                     Power power);
    [[nodiscard]] core::ImageFacts identify(const Notification& notification, const modules::Buffer& bytes,
                                            std::uint64_t limit);
    [[nodiscard]] core::ImageFacts identify_decompressed(const modules::Buffer& bytes, std::uint64_t limit);
    [[nodiscard]] int load(const Notification& notification, const Caller& caller, ImageCopy image,
                           events::Attempt& event);
    [[nodiscard]] int lend(const Notification& notification, const Caller& caller, ImageCopy image,
                           events::Attempt& event);
    void record_needed(events::Attempt event, const Lender::Attempt& tried);
    void record_unjudged(events::Attempt event);
    void finish(const Notification& notification, int result, events::Attempt event);
    [[nodiscard]] events::Attempt event_of(const Notification& notification, const Caller& caller) const;

    const Listener& listener_;
    core::Judge& judge_;
    KernelModules& kernel_;
    events::Recorder& recorder_;
    std::string container_;
    Limits limits_;
    LogOrder log_order_;
    MemoryBudget budget_;
    std::shared_ptr<MemoryBudget> powerless_;
    std::mutex decompressing_; ///< one at a time: what is compressed may decompress to the limit
    core::Decision unjudged_;  ///< of a caller that is gone before more is known
    Lender lender_;
};

} // namespace kmodguard::process
