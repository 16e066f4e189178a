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
    {
        const std::scoped_lock lock(mutex_);
        if (queue_.size() >= capacity_) {
            lost_.fetch_add(1, std::memory_order_relaxed);
            return;
        }
        queue_.push_back(std::move(event));
    }
    changed_.notify_one();
}

void Recorder::run() {
    std::size_t reported = 0;
    std::unique_lock lock(mutex_);
    while (true) {
        changed_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
        if (queue_.empty()) return;
        const Event event = std::move(queue_.front());
        queue_.pop_front();
        lock.unlock();
        const std::size_t loss = lost();
        for (const auto& sink : sinks_) {
            if (loss > reported) sink->write_loss(loss - reported);
            sink->write(event);
        }
        reported = loss;
        lock.lock();
    }
}

} // namespace kmodguard::events
