// SPDX-License-Identifier: AGPL-3.0-only
#include "core/pattern_set.hpp"

#include "core/names.hpp"

#include <fnmatch.h>

#include <algorithm>

namespace kmodguard::core {
namespace {

/// Length of the text before the first wildcard.
std::size_t literal_length(std::string_view pattern) {
    const auto is_wildcard = [](char c) { return c == '*' || c == '?' || c == '[' || c == '\\'; };
    return static_cast<std::size_t>(std::ranges::find_if(pattern, is_wildcard) - pattern.begin());
}

std::size_t last_of(std::string_view prefix) {
    return prefix.empty() ? 0 : static_cast<unsigned char>(prefix.back());
}

/// `text`, or a folded copy of it in `storage` if it has something to fold.
template <typename Fold>
std::string_view folded(std::string_view text, std::string& storage, Fold fold) {
    if (!text.contains('-')) return text;
    storage = fold(text);
    return storage;
}

} // namespace

void PatternSet::add(std::string_view pattern, std::uint32_t id) {
    std::string folded = fold_pattern(pattern);
    const std::size_t length = literal_length(folded);
    const std::string_view rest = std::string_view(folded).substr(length);
    const Form form = rest.empty() ? Form::literal : rest == "*" ? Form::prefix : Form::any;
    std::string prefix = folded.substr(0, length);
    endings_[length].set(last_of(prefix));
    by_prefix_[std::move(prefix)].push_back({std::move(folded), id, form});
}

std::optional<std::uint32_t> PatternSet::match(std::string_view token) const {
    if (empty()) return std::nullopt;
    std::string storage;
    return match_folded(folded(token, storage, fold));
}

std::optional<std::uint32_t> PatternSet::match_folded(std::string_view token) const {
    std::optional<std::uint32_t> best;
    std::string terminated; // for fnmatch, once there is a pattern that needs it
    const auto matches = [&terminated, token](const Filed& filed, std::size_t length) {
        if (filed.form == Form::literal) return length == token.size();
        if (filed.form == Form::prefix) return true;
        if (terminated.size() != token.size()) terminated = token;
        return ::fnmatch(filed.pattern.c_str(), terminated.c_str(), 0) == 0;
    };
    for (const auto& [length, endings] : endings_) {
        if (length > token.size()) break;
        const std::string_view prefix = token.substr(0, length);
        if (!endings.test(last_of(prefix))) continue;
        const auto found = by_prefix_.find(prefix);
        if (found == by_prefix_.end()) continue;
        for (const Filed& filed : found->second)
            if ((!best || filed.id < *best) && matches(filed, length)) best = filed.id;
    }
    return best;
}

std::optional<std::uint32_t> PatternSet::covers(std::string_view pattern) const {
    if (empty()) return std::nullopt;
    std::string storage;
    const std::string_view text = folded(pattern, storage, fold_pattern);
    std::optional<std::uint32_t> best = match(text);
    const auto found = by_prefix_.find(text.substr(0, literal_length(text)));
    if (found == by_prefix_.end()) return best;
    for (const Filed& filed : found->second)
        if (filed.pattern == text && (!best || filed.id < *best)) best = filed.id;
    return best;
}

} // namespace kmodguard::core
