// SPDX-License-Identifier: AGPL-3.0-only
#include "enforce/process/attempts.hpp"

#include <utility>

namespace kmodguard::process {

std::uint64_t Attempts::begin() {
    const std::scoped_lock lock(mutex_);
    return ++last_;
}

void Attempts::write(std::optional<std::string> line) {
    if (line) recorder_.record_attempt(std::move(*line));
}

void Attempts::settle(std::uint64_t number, std::optional<std::string> line) {
    constexpr std::size_t most_waiting = 4096;
    const std::scoped_lock lock(mutex_);
    if (number <= written_) return write(std::move(line));
    waiting_.emplace(number, std::move(line));
    if (waiting_.size() > most_waiting) written_ = waiting_.begin()->first - 1; // no longer for the first
    while (!waiting_.empty() && waiting_.begin()->first == written_ + 1) {
        write(std::move(waiting_.begin()->second));
        waiting_.erase(waiting_.begin());
        ++written_;
    }
}

} // namespace kmodguard::process
