// SPDX-License-Identifier: AGPL-3.0-only
#include "events/recorder.hpp"

#include "sys/trace.hpp"

#include <utility>
#include <variant>

namespace kmodguard::events {
namespace {

/// Of what is taken out of the queue at a time, so that what a crash would lose of it stays little.
constexpr std::size_t max_batch = 64UL * 1024;

} // namespace

Recorder::Room::Room(std::size_t capacity) : capacity_(capacity), share_(capacity / sharers) {}

bool Recorder::Room::take(const std::string& who, std::size_t memory) {
    if (taken_ != 0 && taken_ + memory > capacity_) return false;
    if (!who.empty()) {
        std::size_t& of = of_[who];
        if (of != 0 && of + memory > share_) return false;
        of += memory;
    }
    taken_ += memory;
    return true;
}

void Recorder::Room::give_back(const std::string& who, std::size_t memory) {
    taken_ -= memory;
    const auto of = who.empty() ? of_.end() : of_.find(who);
    if (of == of_.end()) return;
    of->second -= memory;
    if (of->second == 0) of_.erase(of);
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

void Recorder::record(Event event, Wake wake) {
    if (const auto* attempt = std::get_if<Attempt>(&event);
        attempt != nullptr && sys::is_traced(sys::Topic::decisions))
        sys::trace(sys::Topic::decisions, "{}", summary(*attempt));
    bool is_to_wake = false;
    {
        const std::scoped_lock lock(mutex_);
        for (Event& now : coalescer_.take(std::move(event), Coalescer::Clock::now()))
            enqueue(std::move(now));
        is_to_wake = wake == Wake::now && oversleeps();
    }
    if (is_to_wake) changed_.notify_one();
}

void Recorder::wake() {
    bool is_to_wake = false;
    {
        const std::scoped_lock lock(mutex_);
        is_to_wake = oversleeps();
    }
    if (is_to_wake) changed_.notify_one();
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

std::size_t Recorder::room_for(const Event& event) {
    return sizeof(Waiting) + memory_beside(event);
}

void Recorder::enqueue(Event event) {
    auto [room, who] = room_of(event);
    const std::size_t memory = room_for(event);
    if (room->take(who, memory))
        queue_.push_back({.event = std::move(event), .room = room, .who = std::move(who), .memory = memory});
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

bool Recorder::has_work() const {
    return stopping_ || flushing_ || !queue_.empty() || losses_ != reported_;
}

bool Recorder::oversleeps() const {
    if (!sleeps_until_) return false;
    if (has_work()) return true;
    const auto due = coalescer_.next_due();
    return due && *due < *sleeps_until_;
}

void Recorder::wait_for_work(std::unique_lock<std::mutex>& lock) {
    if (has_work()) return;
    const auto due = coalescer_.next_due();
    sleeps_until_ = due.value_or(Coalescer::Clock::time_point::max());
    if (due)
        changed_.wait_until(lock, *due);
    else
        changed_.wait(lock);
    sleeps_until_.reset();
}

Recorder::Queue Recorder::take_oldest() {
    std::size_t memory = 0;
    auto end = queue_.begin();
    for (; end != queue_.end() && memory < max_batch; ++end) {
        end->room->give_back(end->who, end->memory);
        memory += end->memory;
    }
    Queue oldest;
    oldest.splice(oldest.end(), queue_, queue_.begin(), end);
    return oldest;
}

/// What is lost comes first: those who read on shall know.
void Recorder::write(Queue waiting, const Losses& losses) {
    batch_.clear();
    const Losses& from = reported_;
    if (const std::size_t events = losses.here + losses.before - from.here - from.before; events != 0)
        batch_.emplace_back(Loss{.count = events});
    if (const std::size_t lines = losses.lines - from.lines; lines != 0)
        batch_.emplace_back(LogLineLoss{.count = lines});
    for (Waiting& one : waiting)
        batch_.push_back(std::move(one.event));
    for (const auto& sink : sinks_)
        sink->write(batch_);
    batch_.clear();
}

void Recorder::run() {
    std::unique_lock lock(mutex_);
    while (true) {
        wait_for_work(lock);
        const bool last = stopping_; // it may become so while a sink writes, with more counted until then
        enqueue_due();
        Queue oldest = take_oldest();
        const Losses losses = losses_;
        if (!oldest.empty() || losses != reported_) {
            writing_ = true;
            lock.unlock();
            write(std::move(oldest), losses);
            lock.lock();
            reported_ = losses;
            writing_ = false;
        }
        if (!queue_.empty()) continue;
        written_.notify_all();
        if (last && losses_ == reported_) return;
    }
}

} // namespace kmodguard::events
