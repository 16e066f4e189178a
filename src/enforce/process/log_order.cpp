// SPDX-License-Identifier: AGPL-3.0-only
#include "enforce/process/log_order.hpp"

#include <new>

namespace kmodguard::process {
namespace {

constexpr std::size_t max_waiting = 4096;
constexpr std::chrono::seconds max_wait{2};

} // namespace

LogOrder::Line::Line(LogOrder& order) : order_(order) {
    const std::scoped_lock lock(order.mutex_);
    number_ = ++order.last_;
}

LogOrder::Line::~Line() {
    if (written_) return;
    try {
        order_.add(number_, std::nullopt, Clock::now());
    } catch (const std::bad_alloc&) { // NOLINT(bugprone-empty-catch): it then counts as one that hangs
    }
}

void LogOrder::Line::write(std::string text, Clock::time_point now) {
    order_.add(number_, std::move(text), now);
    written_ = true;
}

void LogOrder::release() {
    const std::scoped_lock lock(mutex_);
    write_ready(Clock::time_point::max());
}

void LogOrder::add(std::uint64_t number, std::optional<std::string> text, Clock::time_point now) {
    const std::scoped_lock lock(mutex_);
    if (number <= written_) return write(std::move(text)); // it hung
    waiting_.emplace(number, Waiting{std::move(text), now});
    write_ready(now);
}

void LogOrder::write_ready(Clock::time_point now) {
    while (!waiting_.empty()) {
        const auto first = waiting_.begin();
        const bool in_order = first->first == written_ + 1;
        const bool too_long = now == Clock::time_point::max() || now - first->second.since > max_wait;
        if (!in_order && !too_long && waiting_.size() <= max_waiting) return;
        written_ = first->first;
        write(std::move(first->second.text));
        waiting_.erase(first);
    }
}

void LogOrder::write(std::optional<std::string> text) {
    if (text) recorder_.record(events::LogLine{std::move(*text), container_});
}

} // namespace kmodguard::process
