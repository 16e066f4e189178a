// SPDX-License-Identifier: AGPL-3.0-only
//
// Between the threads that decide and the logs: a bounded queue and a thread of its own, which alone calls
// the sinks and owns them. A decision never waits for a log; a log that cannot keep up loses events, and the
// loss is counted and itself logged. What any process can bring about any number of times takes no room from
// what is important, one that does so leaves room for others, and what is the same each time is counted
// (coalescer.hpp).
#pragma once

#include "events/event.hpp"

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace kmodguard::events {

/// A log. Called from the recorder's thread only; may block.
class Sink {
  public:
    virtual ~Sink() = default;
    virtual void write(const Event& event) = 0;
};

class Recorder {
  public:
    static constexpr std::size_t default_capacity = 1024;

    /// `capacity`: routine events that may wait, a quarter of them of one container or user; as many
    /// important ones beside them, and as many lines of modules.log, a quarter of either of one container.
    explicit Recorder(std::vector<std::unique_ptr<Sink>> sinks, std::size_t capacity = default_capacity);
    Recorder(const Recorder&) = delete;
    Recorder& operator=(const Recorder&) = delete;
    /// Writes what is queued, then returns.
    ~Recorder();

    /// Queues `event`, or counts it as lost if there is no room for it; a refusal like one of a moment ago is
    /// queued when its repetitions have been counted. Never waits for a sink. Lines of modules.log keep the
    /// order of these calls; what becomes of their attempts is said by others' events.
    void record(Event event);
    /// `count` attempts were lost before they came here: every log says so.
    void record_loss(std::size_t count);

    /// Returns when what was queued before is written, with what was counted until now.
    void flush();

    /// Attempts, and changes, lost here since the start.
    [[nodiscard]] std::size_t lost() const;

  private:
    class Queue;
    std::unique_ptr<Queue> queue_;
};

} // namespace kmodguard::events
