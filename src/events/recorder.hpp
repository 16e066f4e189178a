// SPDX-License-Identifier: AGPL-3.0-only
//
// Between those who decide and those who log: a bounded queue and a thread of its own. A decision never waits
// for a log; a log that cannot keep up loses events, and the loss is counted and itself logged. What anybody
// can bring about any number of times takes no room from what is important, and one who does so leaves room
// for others.
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
    virtual void write(const Event& event) = 0;
    /// Something was done to the guard itself.
    virtual void write_change(const Change& /*change*/) {}
    /// One line of modules.log: the path, or the name, of an image that somebody tried to load.
    virtual void write_attempt(std::string_view /*line*/) {}
    /// `count` events were lost since the last call.
    virtual void write_loss(std::size_t count) = 0;
    /// The same of lines of modules.log.
    virtual void write_attempt_loss(std::size_t /*count*/) {}
};

class Recorder {
  public:
    static constexpr std::size_t default_capacity = 1024;

    /// `capacity`: routine events that may wait, a quarter of them of one container or user; as many
    /// important ones beside them, and as many lines of modules.log.
    explicit Recorder(std::vector<std::unique_ptr<Sink>> sinks, std::size_t capacity = default_capacity);
    Recorder(const Recorder&) = delete;
    Recorder& operator=(const Recorder&) = delete;
    /// Writes what is queued, then returns.
    ~Recorder();

    /// Queues `event`, or counts it as lost if there is no room for it. Never waits for a sink.
    void record(Event event);
    void record(Change change);
    /// The same for a line of modules.log. Its order is that of these calls; what becomes of the attempt is
    /// another matter, and told by its event.
    void record_attempt(std::string line);

    /// Returns when what was queued before is written.
    void flush();

    /// Events lost since the start.
    [[nodiscard]] std::size_t lost() const;

  private:
    class Queue;
    std::unique_ptr<Queue> queue_;
};

} // namespace kmodguard::events
