// SPDX-License-Identifier: AGPL-3.0-only
#include "enforce/process/attempts.hpp"

#include <utility>

namespace kmodguard::process {

std::uint64_t Attempts::begin() {
    const std::scoped_lock lock(mutex_);
    return ++last_;
}

void Attempts::settle(std::uint64_t number, std::optional<std::string> line) {
    const std::scoped_lock lock(mutex_);
    waiting_.emplace(number, std::move(line));
    for (auto next = waiting_.begin(); next != waiting_.end() && next->first == written_ + 1; ++written_) {
        if (next->second) recorder_.record_attempt(std::move(*next->second));
        next = waiting_.erase(next);
    }
}

} // namespace kmodguard::process
