// SPDX-License-Identifier: AGPL-3.0-only
#include "events/recorder.hpp"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <thread>
#include <utility>
#include <variant>

namespace kmodguard::events {
namespace {

constexpr std::size_t sharers = 4; ///< who make more noise than all can log, each heard

/// Who has brought it about; "" where that is not known.
std::string whose(const Event& event) {
    if (!event.requester) return "";
    if (!event.requester->container.empty()) return "container " + event.requester->container;
    return event.requester->uid ? "user " + std::to_string(*event.requester->uid) : "";
}

} // namespace

class Recorder::Queue {
  public:
    using Line = std::string; ///< of modules.log
    using Entry = std::variant<Event, Change, Line>;

    Queue(std::vector<std::unique_ptr<Sink>> sinks, std::size_t capacity)
        : sinks_(std::move(sinks)), capacity_(capacity), thread_([this] { run(); }) {}
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

    void add(Entry entry);
    void flush();
    [[nodiscard]] std::size_t lost() const { return lost_.load(std::memory_order_relaxed); }

  private:
    [[nodiscard]] bool take_room(const Entry& entry);
    void give_back_room(const Entry& entry);
    void write(const Entry& entry);
    void run();

    std::vector<std::unique_ptr<Sink>> sinks_;
    std::size_t capacity_;
    std::mutex mutex_;
    std::condition_variable changed_;
    std::condition_variable written_;
    bool writing_ = false;
    std::deque<Entry> queue_;
    std::size_t lines_ = 0; ///< that wait, as do:
    std::size_t important_ = 0;
    std::size_t routine_ = 0;
    std::map<std::string, std::size_t> routine_of_; ///< by container or user
    bool stopping_ = false;
    std::atomic<std::size_t> lost_ = 0;       ///< events
    std::atomic<std::size_t> lost_lines_ = 0; ///< of modules.log
    std::thread thread_;
};

Recorder::Recorder(std::vector<std::unique_ptr<Sink>> sinks, std::size_t capacity)
    : queue_(std::make_unique<Queue>(std::move(sinks), capacity)) {}

Recorder::~Recorder() = default;

void Recorder::record(Event event) {
    queue_->add(std::move(event));
}

void Recorder::record(Change change) {
    queue_->add(std::move(change));
}

void Recorder::record_attempt(std::string line) {
    queue_->add(std::move(line));
}

void Recorder::flush() {
    queue_->flush();
}

std::size_t Recorder::lost() const {
    return queue_->lost();
}

void Recorder::Queue::add(Entry entry) {
    {
        const std::scoped_lock lock(mutex_);
        if (!take_room(entry)) {
            auto& lost = std::holds_alternative<Line>(entry) ? lost_lines_ : lost_;
            lost.fetch_add(1, std::memory_order_relaxed);
            return;
        }
        queue_.push_back(std::move(entry));
    }
    changed_.notify_one();
}

bool Recorder::Queue::take_room(const Entry& entry) {
    const auto take_one = [](std::size_t& count, std::size_t limit) {
        const bool has_room = count < limit;
        if (has_room) ++count;
        return has_room;
    };
    if (std::holds_alternative<Line>(entry)) return take_one(lines_, capacity_);
    const Event* event = std::get_if<Event>(&entry);
    if (event == nullptr || importance_of(*event) == Importance::important)
        return take_one(important_, capacity_);
    if (routine_ >= capacity_) return false;
    const std::string who = whose(*event);
    const std::size_t share = who.empty() ? capacity_ : std::max<std::size_t>(1, capacity_ / sharers);
    if (!take_one(routine_of_[who], share)) return false;
    ++routine_;
    return true;
}

void Recorder::Queue::give_back_room(const Entry& entry) {
    const Event* event = std::get_if<Event>(&entry);
    if (std::holds_alternative<Line>(entry)) {
        --lines_;
    } else if (event == nullptr || importance_of(*event) == Importance::important) {
        --important_;
    } else {
        --routine_;
        if (const auto of = routine_of_.find(whose(*event)); --of->second == 0) routine_of_.erase(of);
    }
}

void Recorder::Queue::flush() {
    std::unique_lock lock(mutex_);
    written_.wait(lock, [this] { return queue_.empty() && !writing_; });
}

void Recorder::Queue::write(const Entry& entry) {
    for (const auto& sink : sinks_) {
        if (const Event* event = std::get_if<Event>(&entry))
            sink->write(*event);
        else if (const Change* change = std::get_if<Change>(&entry))
            sink->write_change(*change);
        else
            sink->write_attempt(std::get<Line>(entry));
    }
}

void Recorder::Queue::run() {
    std::size_t reported = 0;
    std::size_t reported_lines = 0;
    std::unique_lock lock(mutex_);
    while (true) {
        changed_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
        if (queue_.empty()) return;
        const Entry entry = std::move(queue_.front());
        queue_.pop_front();
        give_back_room(entry);
        writing_ = true;
        lock.unlock();
        const std::size_t loss = lost();
        const std::size_t line_loss = lost_lines_.load(std::memory_order_relaxed);
        for (const auto& sink : sinks_) {
            if (loss > reported) sink->write_loss(loss - reported);
            if (line_loss > reported_lines) sink->write_attempt_loss(line_loss - reported_lines);
        }
        write(entry);
        reported = loss;
        reported_lines = line_loss;
        lock.lock();
        writing_ = false;
        if (queue_.empty()) written_.notify_all();
    }
}

} // namespace kmodguard::events
