// SPDX-License-Identifier: AGPL-3.0-only
//
// What a call's record still takes when the call has been answered: the hash of its image, the line of
// modules.log, the recorder. A thread of idle priority does that, so that it costs nobody's call; it is
// started with the first record. Nothing of it looks at the caller, who may be gone, or at its file: all that
// was read, and when, is in the record already.
//
// Records are done one after the other, in the order in which they came. No more of them wait than there is
// room for, in number and in bytes: beyond that, whoever brings one does the oldest itself. None is lost.
#pragma once

#include "enforce/process/log_order.hpp"
#include "enforce/process/seen_image.hpp"
#include "events/recorder.hpp"

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

namespace kmodguard::process {

/// What is to be recorded: of a call that has been answered its event, and before a load the line alone.
struct DeferredRecord {
    /// Its line in modules.log, where it has one: what attempts are listed by.
    struct Line {
        LogOrder::Line place;
        std::string text;
    };

    std::optional<events::Attempt> event = std::nullopt;
    std::shared_ptr<SeenImage> image = nullptr; ///< whose hash the event lacks
    std::optional<Line> line = std::nullopt;
};

struct DeferredLimits {
    std::size_t records = 1024;
    std::uint64_t bytes = 8ULL << 20U; ///< of images
};

class Deferred {
  public:
    explicit Deferred(events::Recorder& recorder, const DeferredLimits& limits = {});
    Deferred(const Deferred&) = delete;
    Deferred& operator=(const Deferred&) = delete;
    ~Deferred(); ///< when all is done

    void add(DeferredRecord record);
    /// Does, on the calling thread, what has been added, and returns when all of it is done.
    void finish();

  private:
    void run();
    void start_thread();
    [[nodiscard]] bool is_over_limit();
    [[nodiscard]] bool do_oldest();
    void record(DeferredRecord record);

    events::Recorder& recorder_;
    DeferredLimits limits_;
    std::mutex doing_; ///< locked by who does one, for the order; before the other
    std::mutex mutex_; ///< of what follows
    std::condition_variable added_;
    std::deque<DeferredRecord> waiting_;
    std::uint64_t bytes_ = 0; ///< of the images of those that wait
    bool stopping_ = false;
    std::thread thread_;
};

} // namespace kmodguard::process
