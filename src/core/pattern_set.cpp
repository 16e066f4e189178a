// SPDX-License-Identifier: AGPL-3.0-only
#include "core/pattern_set.hpp"

#include "core/names.hpp"

#include <fnmatch.h>

#include <algorithm>

namespace kmodguard::core {
namespace {

constexpr std::string_view wildcards = "*?[\\";

} // namespace

void PatternSet::add(std::string_view pattern, std::uint32_t id) {
    std::string folded = fold_pattern(pattern);
    const std::size_t wildcard = folded.find_first_of(wildcards);
    const bool literal = wildcard == std::string::npos;
    const std::size_t length = literal ? folded.size() : wildcard;
    prefix_lengths_.insert(length);
    std::string prefix = folded.substr(0, length);
    by_prefix_[std::move(prefix)].push_back({std::move(folded), id, literal});
}

std::optional<std::uint32_t> PatternSet::match(std::string_view token) const {
    if (empty()) return std::nullopt;
    const std::string folded = fold(token);
    std::optional<std::uint32_t> best;
    for (const std::size_t length : prefix_lengths_) {
        if (length > folded.size()) break;
        const auto found = by_prefix_.find(std::string_view(folded).substr(0, length));
        if (found == by_prefix_.end()) continue;
        for (const Filed& filed : found->second) {
            if (best && filed.id >= *best) continue;
            const bool matches = filed.literal ? length == folded.size()
                                               : ::fnmatch(filed.pattern.c_str(), folded.c_str(), 0) == 0;
            if (matches) best = filed.id;
        }
    }
    return best;
}

std::optional<std::uint32_t> PatternSet::covers(std::string_view pattern) const {
    const std::string folded = fold_pattern(pattern);
    std::optional<std::uint32_t> best = match(folded);
    const std::size_t length = std::min(folded.find_first_of(wildcards), folded.size());
    const auto found = by_prefix_.find(std::string_view(folded).substr(0, length));
    if (found == by_prefix_.end()) return best;
    for (const Filed& filed : found->second)
        if (filed.pattern == folded && (!best || filed.id < *best)) best = filed.id;
    return best;
}

} // namespace kmodguard::core
