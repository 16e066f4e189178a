// SPDX-License-Identifier: AGPL-3.0-only
#include "enforce/process/attempts.hpp"

#include <new>
#include <utility>

namespace kmodguard::process {
namespace {

constexpr std::size_t max_waiting = 4096;
constexpr std::chrono::seconds max_wait{2};

} // namespace

std::uint64_t Attempts::begin() {
    const std::scoped_lock lock(mutex_);
    return ++last_;
}

void Attempts::settle(std::uint64_t number, std::string line, Clock::time_point now) {
    const std::scoped_lock lock(mutex_);
    add(number, std::move(line), now);
}

void Attempts::skip(std::uint64_t number) noexcept {
    const std::scoped_lock lock(mutex_);
    try {
        add(number, std::nullopt, Clock::now());
    } catch (const std::bad_alloc&) { // NOLINT(bugprone-empty-catch): it then counts as one that hangs
    }
}

void Attempts::release() {
    const std::scoped_lock lock(mutex_);
    write_ready(Clock::time_point::max());
}

void Attempts::add(std::uint64_t number, std::optional<std::string> line, Clock::time_point now) {
    if (number <= written_) { // it hung
        if (line) recorder_.record(events::LogLine{std::move(*line), container_});
        return;
    }
    waiting_.emplace(number, Waiting{std::move(line), now});
    write_ready(now);
}

void Attempts::write_ready(Clock::time_point now) {
    while (!waiting_.empty()) {
        const auto first = waiting_.begin();
        const bool in_order = first->first == written_ + 1;
        const bool too_long = now == Clock::time_point::max() || now - first->second.since > max_wait;
        if (!in_order && !too_long && waiting_.size() <= max_waiting) return;
        written_ = first->first;
        if (first->second.line) recorder_.record(events::LogLine{std::move(*first->second.line), container_});
        waiting_.erase(first);
    }
}

} // namespace kmodguard::process
