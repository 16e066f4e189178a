// SPDX-License-Identifier: AGPL-3.0-only
#include "events/recorder.hpp"

#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>
#include <variant>

namespace kmodguard::events {

class Recorder::Queue {
  public:
    using Entry = std::variant<Event, std::string>;

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
    void write(const Entry& entry);
    void run();

    std::vector<std::unique_ptr<Sink>> sinks_;
    std::size_t capacity_;
    std::mutex mutex_;
    std::condition_variable changed_;
    std::condition_variable written_;
    bool writing_ = false;
    std::deque<Entry> queue_;
    bool stopping_ = false;
    std::atomic<std::size_t> lost_ = 0;
    std::thread thread_;
};

Recorder::Recorder(std::vector<std::unique_ptr<Sink>> sinks, std::size_t capacity)
    : queue_(std::make_unique<Queue>(std::move(sinks), capacity)) {}

Recorder::~Recorder() = default;

void Recorder::record(Event event) {
    queue_->add(std::move(event));
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
        if (queue_.size() >= capacity_) {
            lost_.fetch_add(1, std::memory_order_relaxed);
            return;
        }
        queue_.push_back(std::move(entry));
    }
    changed_.notify_one();
}

void Recorder::Queue::flush() {
    std::unique_lock lock(mutex_);
    written_.wait(lock, [this] { return queue_.empty() && !writing_; });
}

void Recorder::Queue::write(const Entry& entry) {
    for (const auto& sink : sinks_) {
        if (const Event* event = std::get_if<Event>(&entry))
            sink->write(*event);
        else
            sink->write_attempt(std::get<std::string>(entry));
    }
}

void Recorder::Queue::run() {
    std::size_t reported = 0;
    std::unique_lock lock(mutex_);
    while (true) {
        changed_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
        if (queue_.empty()) return;
        const Entry entry = std::move(queue_.front());
        queue_.pop_front();
        writing_ = true;
        lock.unlock();
        const std::size_t loss = lost();
        if (loss > reported)
            for (const auto& sink : sinks_)
                sink->write_loss(loss - reported);
        write(entry);
        reported = loss;
        lock.lock();
        writing_ = false;
        if (queue_.empty()) written_.notify_all();
    }
}

} // namespace kmodguard::events
