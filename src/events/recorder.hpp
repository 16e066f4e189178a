// SPDX-License-Identifier: AGPL-3.0-only
//
// Between the threads that decide and the logs: a queue, bounded by the memory that it takes, and a thread of
// its own, which alone calls the sinks and owns them. It takes from the queue what has gathered there while
// it wrote, and waits for nothing more to write several events at a time. A decision never waits for a log; a
// log that cannot keep up loses events, and the loss is counted and itself logged. What any process can bring
// about any number of times takes no room from what is important, one that does so leaves room for others,
// and what is the same each time is counted (coalescer.hpp).
#pragma once

#include "events/coalescer.hpp"
#include "events/event.hpp"

#include <condition_variable>
#include <cstddef>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace kmodguard::events {

/// A log. Called from the recorder's thread only; may block.
class Sink {
  public:
    using Events = std::span<const Event>; ///< oldest first

    virtual ~Sink() = default;
    /// Returns when all are written, or lost.
    virtual void write(Events events) = 0;
};

class Recorder {
  public:
    static constexpr std::size_t default_capacity = 8UL * 1024 * 1024;

    /// `capacity`: bytes of routine events that may wait, a quarter of them of one container or user; as many
    /// of important ones beside them, and as many of lines of modules.log, a quarter of either of one
    /// container. One event that is larger waits alone.
    explicit Recorder(std::vector<std::unique_ptr<Sink>> sinks, std::size_t capacity = default_capacity);
    Recorder(const Recorder&) = delete;
    Recorder& operator=(const Recorder&) = delete;
    /// Writes what is queued, then returns.
    ~Recorder();

    /// Whether the thread is woken to write an event, which costs more than to queue it.
    enum class Wake { now, later /**< by wake(), for all that was recorded before */ };

    /// Queues `event`, or counts it as lost if there is no room for it; a refusal like one of a moment ago is
    /// queued when its repetitions have been counted. Never waits for a sink. Lines of modules.log keep the
    /// order of these calls; what becomes of their attempts is in other events.
    void record(Event event, Wake wake = Wake::now);
    /// Has what was recorded until now written, as far as it is to be by now.
    void wake();
    /// `count` attempts were lost before they came here: every log gets an event of that.
    void record_loss(std::size_t count);

    /// Returns when what was queued before is written, with what was counted until now.
    void flush();

    /// Attempts, and changes, lost here since the start.
    [[nodiscard]] std::size_t lost() const;

    /// Bytes of room that `event` takes while it waits.
    [[nodiscard]] static std::size_t room_for(const Event& event);

  private:
    /// For events that wait: the bytes that they take, and how many of these each container or user has
    /// brought about that leaves room for others.
    class Room {
      public:
        explicit Room(std::size_t capacity);
        /// False: there is none, or `who` has had its share. "" is not known, and has all there is.
        [[nodiscard]] bool take(const std::string& who, std::size_t memory);
        void give_back(const std::string& who, std::size_t memory);

      private:
        /// That make more noise than all can log, each with a part in the log.
        static constexpr std::size_t sharers = 4;

        std::size_t capacity_;
        std::size_t share_;
        std::size_t taken_ = 0;
        std::map<std::string, std::size_t> of_;
    };

    /// An event in the queue, and the room that it has there.
    struct Waiting {
        Event event;
        Room* room;
        std::string who;
        std::size_t memory;
    };
    using Queue = std::list<Waiting>;

    struct Losses {
        std::size_t here = 0;   ///< of events and changes
        std::size_t before = 0; ///< that never came here
        std::size_t lines = 0;  ///< of modules.log
        bool operator==(const Losses&) const = default;
    };

    /// Where `event` takes its room, and as whose.
    [[nodiscard]] std::pair<Room*, std::string> room_of(const Event& event);
    void enqueue(Event event);
    void enqueue_due();
    [[nodiscard]] bool has_work() const;
    /// Whether the thread waits, and for longer than it is to wait now.
    [[nodiscard]] bool oversleeps() const;
    void wait_for_work(std::unique_lock<std::mutex>& lock);
    /// Out of the queue, which has room for others then.
    [[nodiscard]] Queue take_oldest();
    void write(Queue waiting, const Losses& losses);
    void run();

    std::vector<std::unique_ptr<Sink>> sinks_;
    mutable std::mutex mutex_; ///< of all that follows
    std::condition_variable changed_;
    std::condition_variable written_;
    bool writing_ = false;
    std::optional<Coalescer::Clock::time_point> sleeps_until_; ///< nothing: the thread does not wait
    Coalescer coalescer_;
    Queue queue_;
    Room lines_;
    Room important_;
    Room routine_;
    bool stopping_ = false;
    bool flushing_ = false; ///< what was counted, before its time
    Losses losses_;
    Losses reported_;          ///< of these
    std::vector<Event> batch_; ///< what is being written; the thread's own, and used again
    std::thread thread_;
};

} // namespace kmodguard::events
