// SPDX-License-Identifier: AGPL-3.0-only
#include "events/recorder.hpp"

#include "sys/trace.hpp"

#include <algorithm>
#include <optional>
#include <variant>

namespace kmodguard::events {

Recorder::Room::Room(std::size_t capacity)
    : capacity_(capacity), share_(std::max<std::size_t>(1, capacity / sharers)) {}

bool Recorder::Room::take(const std::string& who) {
    if (taken_ >= capacity_) return false;
    if (!who.empty()) {
        const auto of = of_.try_emplace(who, 0).first;
        if (of->second >= share_) return false;
        ++of->second;
    }
    ++taken_;
    return true;
}

void Recorder::Room::give_back(const std::string& who) {
    --taken_;
    if (const auto of = of_.find(who); of != of_.end() && --of->second == 0) of_.erase(of);
}

Recorder::Recorder(std::vector<std::unique_ptr<Sink>> sinks, std::size_t capacity)
    : sinks_(std::move(sinks)), lines_(capacity), important_(capacity), routine_(capacity),
      thread_([this] { run(); }) {}

Recorder::~Recorder() {
    {
        const std::scoped_lock lock(mutex_);
        stopping_ = true;
    }
    changed_.notify_one();
    thread_.join();
}

void Recorder::record(Event event) {
    if (const auto* attempt = std::get_if<Attempt>(&event);
        attempt != nullptr && sys::is_traced(sys::Topic::decisions))
        sys::trace(sys::Topic::decisions, "{}", summary(*attempt));
    {
        const std::scoped_lock lock(mutex_);
        for (Event& now : coalescer_.take(std::move(event), Coalescer::Clock::now()))
            enqueue(std::move(now));
    }
    changed_.notify_one(); // also of what is held back: the thread is to wake up for it
}

void Recorder::record_loss(std::size_t count) {
    {
        const std::scoped_lock lock(mutex_);
        losses_.before += count;
    }
    changed_.notify_one();
}

std::size_t Recorder::lost() const {
    const std::scoped_lock lock(mutex_);
    return losses_.here;
}

auto Recorder::room_of(const Event& event) -> std::pair<Room*, std::string> {
    if (const auto* line = std::get_if<LogLine>(&event)) return {&lines_, line->container};
    const auto* attempt = std::get_if<Attempt>(&event);
    if (attempt != nullptr && importance_of(*attempt) == Importance::routine)
        return {&routine_, originator_of(event)};
    // Those that load by right are let be, if they are in no container.
    const bool contained = attempt != nullptr && attempt->requester && !attempt->requester->container.empty();
    return {&important_, contained ? originator_of(event) : ""};
}

void Recorder::enqueue(Event event) {
    const auto [room, who] = room_of(event);
    if (room->take(who))
        queue_.push_back(std::move(event));
    else if (std::holds_alternative<LogLine>(event))
        ++losses_.lines;
    else
        losses_.here += count_of(event);
}

void Recorder::enqueue_due() {
    const bool all = stopping_ || std::exchange(flushing_, false);
    const auto now = all ? Coalescer::Clock::time_point::max() : Coalescer::Clock::now();
    for (Event& event : coalescer_.take_due(now))
        enqueue(std::move(event));
}

void Recorder::flush() {
    std::unique_lock lock(mutex_);
    flushing_ = true;
    changed_.notify_one();
    written_.wait(lock, [this] { return queue_.empty() && !writing_ && !flushing_; });
}

void Recorder::write(const Event& event) {
    for (const auto& sink : sinks_)
        sink->write(event);
}

void Recorder::report(const Losses& from, const Losses& to) {
    if (const std::size_t events = to.here + to.before - from.here - from.before; events != 0)
        write(Loss{.count = events});
    if (const std::size_t lines = to.lines - from.lines; lines != 0) write(LogLineLoss{.count = lines});
}

void Recorder::run() {
    Losses reported;
    std::unique_lock lock(mutex_);
    while (true) {
        const auto something = [&] {
            return stopping_ || flushing_ || !queue_.empty() || losses_ != reported;
        };
        if (const auto due = coalescer_.next_due(); due && !something())
            changed_.wait_until(lock, *due);
        else
            changed_.wait(lock, something);
        enqueue_due();
        std::optional<Event> event;
        if (!queue_.empty()) {
            event = std::move(queue_.front());
            queue_.pop_front();
            const auto [room, who] = room_of(*event);
            room->give_back(who);
        }
        const Losses losses = losses_;
        if (event || losses != reported) {
            writing_ = true;
            lock.unlock();
            report(reported, losses);
            if (event) write(*event);
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
