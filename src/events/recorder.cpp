// SPDX-License-Identifier: AGPL-3.0-only
#include "events/recorder.hpp"

namespace kmodguard::events {

Recorder::Recorder(std::vector<std::unique_ptr<Sink>> sinks, std::size_t capacity)
    : sinks_(std::move(sinks)), capacity_(capacity), thread_([this] { run(); }) {}

Recorder::~Recorder() {
    {
        const std::scoped_lock lock(mutex_);
        stopping_ = true;
    }
    changed_.notify_one();
    thread_.join();
}

void Recorder::record(Event event) {
    enqueue(std::move(event));
}

void Recorder::record_attempt(std::string line) {
    enqueue(std::move(line));
}

void Recorder::enqueue(Entry entry) {
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

void Recorder::flush() {
    std::unique_lock lock(mutex_);
    written_.wait(lock, [this] { return queue_.empty() && !writing_; });
}

void Recorder::write(const Entry& entry) {
    for (const auto& sink : sinks_) {
        if (const Event* event = std::get_if<Event>(&entry))
            sink->write(*event);
        else
            sink->write_attempt(std::get<std::string>(entry));
    }
}

void Recorder::run() {
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
