// SPDX-License-Identifier: AGPL-3.0-only
//
// Between those who decide and those who log: a bounded queue and a thread of its own. A decision never waits
// for a log; a log that cannot keep up loses events, and the loss is counted and itself logged. What anybody
// can bring about any number of times takes no room from what is important, one who does so leaves room for
// others, and what is the same each time is counted (coalescer.hpp).
#pragma once

#include "events/change.hpp"
#include "events/event.hpp"

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace kmodguard::events {

/// Somewhere events go. Called from the recorder's thread only; may block.
class Sink {
  public:
    virtual ~Sink() = default;
    virtual void write(const Attempt& event) = 0;
    /// Something was done to the guard itself.
    virtual void write_change(const Change& /*change*/) {}
    /// One line of modules.log: the path, or the name, of an image that somebody tried to load.
    virtual void write_attempt(std::string_view /*line*/) {}
    /// `count` attempts, or changes, have been lost since the last call.
    virtual void write_loss(std::size_t count) = 0;
    /// The same of lines of modules.log.
    virtual void write_attempt_loss(std::size_t /*count*/) {}
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
    /// queued when its repetitions have been counted. Never waits for a sink.
    void record(Attempt event);
    void record(Change change);
    /// The same for a line of modules.log. Its order is that of these calls; what becomes of the attempt is
    /// another matter, and told by its event. `container`: whose attempt it was; "" where it was none's.
    void record_attempt(std::string line, std::string container = "");
    /// `count` attempts were lost before they came here: says so wherever events go.
    void record_loss(std::size_t count);

    /// Returns when what was queued before is written, and what was counted until now is told.
    void flush();

    /// Attempts, and changes, lost here since the start.
    [[nodiscard]] std::size_t lost() const;

  private:
    class Queue;
    std::unique_ptr<Queue> queue_;
};

} // namespace kmodguard::events
