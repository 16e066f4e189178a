// SPDX-License-Identifier: AGPL-3.0-only
#include "events/recorder.hpp"

#include "events/coalescer.hpp"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <variant>

namespace kmodguard::events {
namespace {

constexpr std::size_t sharers = 4; ///< who make more noise than all can log, each heard

/// Of whom there is to be room for others. Whoever loads by right is let be, if no container is around him.
std::string who_shares(const Attempt& event, Importance importance) {
    const bool contained = event.requester && !event.requester->container.empty();
    return importance == Importance::routine || contained ? originator_of(event) : "";
}

} // namespace

class Recorder::Queue {
  public:
    struct Line { ///< of modules.log
        std::string text;
        std::string container;
    };
    using Entry = std::variant<Attempt, Change, Line>;

    Queue(std::vector<std::unique_ptr<Sink>> sinks, std::size_t capacity)
        : sinks_(std::move(sinks)), lines_(capacity), important_(capacity), routine_(capacity),
          thread_([this] { run(); }) {}
    Queue(const Queue&) = delete;
    Queue& operator=(const Queue&) = delete;
    ~Queue() {
        {
            const std::scoped_lock lock(mutex_);
            stopping_ = true;
        }
        changed_.notify_one();
        thread_.join();
    }

    void add(Attempt event);
    void add(Change change);
    void add(Line line);
    void add_loss(std::size_t count);
    void flush();
    [[nodiscard]] std::size_t lost() const;

  private:
    /// Entries that wait, and how many of them each has brought about who leaves room for others.
    class Room {
      public:
        explicit Room(std::size_t capacity)
            : capacity_(capacity), share_(std::max<std::size_t>(1, capacity / sharers)) {}

        /// False: there is none, or `who` has had his share. "" is not known, and has all there is.
        [[nodiscard]] bool take(const std::string& who) {
            if (taken_ >= capacity_) return false;
            if (!who.empty()) {
                const auto of = of_.try_emplace(who, 0).first;
                if (of->second >= share_) return false;
                ++of->second;
            }
            ++taken_;
            return true;
        }
        void give_back(const std::string& who) {
            --taken_;
            if (const auto of = of_.find(who); of != of_.end() && --of->second == 0) of_.erase(of);
        }

      private:
        std::size_t capacity_;
        std::size_t share_;
        std::size_t taken_ = 0;
        std::map<std::string, std::size_t> of_;
    };

    struct Losses {
        std::size_t here = 0;   ///< of events and changes
        std::size_t before = 0; ///< that never came here
        std::size_t lines = 0;  ///< of modules.log
        bool operator==(const Losses&) const = default;
    };

    /// Where `entry` takes its room, and as whose.
    [[nodiscard]] std::pair<Room*, std::string> room_of(const Entry& entry);
    void enqueue(Entry entry);
    void enqueue_due();
    void write(const Entry& entry);
    void report(const Losses& from, const Losses& to);
    void run();

    std::vector<std::unique_ptr<Sink>> sinks_;
    mutable std::mutex mutex_; ///< of all that follows
    std::condition_variable changed_;
    std::condition_variable written_;
    bool writing_ = false;
    Coalescer coalescer_;
    std::deque<Entry> queue_;
    Room lines_;
    Room important_;
    Room routine_;
    bool stopping_ = false;
    bool telling_all_ = false; ///< what was counted, before its time
    Losses losses_;
    std::thread thread_;
};

Recorder::Recorder(std::vector<std::unique_ptr<Sink>> sinks, std::size_t capacity)
    : queue_(std::make_unique<Queue>(std::move(sinks), capacity)) {}

Recorder::~Recorder() = default;

void Recorder::record(Attempt event) {
    queue_->add(std::move(event));
}

void Recorder::record(Change change) {
    queue_->add(std::move(change));
}

void Recorder::record_attempt(std::string line, std::string container) {
    queue_->add(Queue::Line{.text = std::move(line), .container = std::move(container)});
}

void Recorder::record_loss(std::size_t count) {
    queue_->add_loss(count);
}

void Recorder::flush() {
    queue_->flush();
}

std::size_t Recorder::lost() const {
    return queue_->lost();
}

void Recorder::Queue::add(Attempt event) {
    {
        const std::scoped_lock lock(mutex_);
        for (Attempt& now : coalescer_.take(std::move(event), Coalescer::Clock::now()))
            enqueue(std::move(now));
    }
    changed_.notify_one(); // also of what is held back: the thread is to wake up for it
}

void Recorder::Queue::add(Change change) {
    {
        const std::scoped_lock lock(mutex_);
        enqueue(std::move(change));
    }
    changed_.notify_one();
}

void Recorder::Queue::add(Line line) {
    {
        const std::scoped_lock lock(mutex_);
        enqueue(std::move(line));
    }
    changed_.notify_one();
}

void Recorder::Queue::add_loss(std::size_t count) {
    {
        const std::scoped_lock lock(mutex_);
        losses_.before += count;
    }
    changed_.notify_one();
}

std::size_t Recorder::Queue::lost() const {
    const std::scoped_lock lock(mutex_);
    return losses_.here;
}

auto Recorder::Queue::room_of(const Entry& entry) -> std::pair<Room*, std::string> {
    if (const Line* line = std::get_if<Line>(&entry)) return {&lines_, line->container};
    const Attempt* event = std::get_if<Attempt>(&entry);
    if (event == nullptr) return {&important_, ""};
    const Importance importance = importance_of(*event);
    return {importance == Importance::important ? &important_ : &routine_, who_shares(*event, importance)};
}

void Recorder::Queue::enqueue(Entry entry) {
    const auto [room, who] = room_of(entry);
    if (room->take(who)) {
        queue_.push_back(std::move(entry));
    } else if (std::holds_alternative<Line>(entry)) {
        ++losses_.lines;
    } else {
        const Attempt* event = std::get_if<Attempt>(&entry);
        losses_.here += event != nullptr ? 1 + event->repeated : 1; // with what it would have told
    }
}

void Recorder::Queue::enqueue_due() {
    const bool all = stopping_ || std::exchange(telling_all_, false);
    const auto now = all ? Coalescer::Clock::time_point::max() : Coalescer::Clock::now();
    for (Attempt& event : coalescer_.take_due(now))
        enqueue(std::move(event));
}

void Recorder::Queue::flush() {
    std::unique_lock lock(mutex_);
    telling_all_ = true;
    changed_.notify_one();
    written_.wait(lock, [this] { return queue_.empty() && !writing_ && !telling_all_; });
}

void Recorder::Queue::write(const Entry& entry) {
    for (const auto& sink : sinks_) {
        if (const Attempt* event = std::get_if<Attempt>(&entry))
            sink->write(*event);
        else if (const Change* change = std::get_if<Change>(&entry))
            sink->write_change(*change);
        else
            sink->write_attempt(std::get<Line>(entry).text);
    }
}

void Recorder::Queue::report(const Losses& from, const Losses& to) {
    const std::size_t events = to.here + to.before - from.here - from.before;
    const std::size_t lines = to.lines - from.lines;
    for (const auto& sink : sinks_) {
        if (events != 0) sink->write_loss(events);
        if (lines != 0) sink->write_attempt_loss(lines);
    }
}

void Recorder::Queue::run() {
    Losses reported;
    std::unique_lock lock(mutex_);
    while (true) {
        const auto something = [&] {
            return stopping_ || telling_all_ || !queue_.empty() || losses_ != reported;
        };
        if (const auto due = coalescer_.next_due(); due && !something())
            changed_.wait_until(lock, *due);
        else
            changed_.wait(lock, something);
        enqueue_due();
        std::optional<Entry> entry;
        if (!queue_.empty()) {
            entry = std::move(queue_.front());
            queue_.pop_front();
            const auto [room, who] = room_of(*entry);
            room->give_back(who);
        }
        const Losses losses = losses_;
        if (entry || losses != reported) {
            writing_ = true;
            lock.unlock();
            report(reported, losses);
            if (entry) write(*entry);
            reported = losses;
            lock.lock();
            writing_ = false;
        }
        if (!queue_.empty()) continue;
        written_.notify_all();
        if (stopping_ && losses_ == reported) return;
    }
}

} // namespace kmodguard::events
