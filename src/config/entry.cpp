// SPDX-License-Identifier: AGPL-3.0-only
#include "config/entry.hpp"

#include "config/diagnostic.hpp"
#include "core/names.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

namespace kmodguard::config {
namespace {

constexpr std::size_t max_word = 64;

sys::Result<std::string> check_alias(std::string_view text) {
    if (core::is_token(text)) return std::string(text);
    if (text.empty()) return sys::failure(sys::ErrorKind::invalid, "an empty alias", "remove the entry");
    if (text.size() > core::max_token)
        return sys::failure(
            sys::ErrorKind::invalid,
            fmt::format("an alias of {} bytes; at most {} are possible", text.size(), core::max_token),
            "cut it short with '*'");
    if (text.front() == '-')
        return sys::failure(sys::ErrorKind::invalid,
                            in_quotes(text)
                                + " begins with '-': no alias does, it would be taken for an option",
                            "remove the '-'");
    return sys::failure(sys::ErrorKind::invalid, in_quotes(text) + " holds control characters",
                        "write the alias as `modinfo -F alias` shows it");
}

} // namespace

std::string_view table_of(List list) {
    return list == List::allow_modules || list == List::allow_aliases ? "allow" : "deny";
}

std::string_view key_of(List list) {
    return holds_modules(list) ? "modules" : "aliases";
}

std::string path_of(List list) {
    return fmt::format("{}.{}", table_of(list), key_of(list));
}

bool holds_modules(List list) {
    return list == List::allow_modules || list == List::deny_modules;
}

const std::vector<core::PolicySource::Entry>& entries_of(const core::PolicySource& source, List list) {
    switch (list) {
    case List::allow_modules: return source.allow_modules;
    case List::allow_aliases: return source.allow_aliases;
    case List::deny_modules: return source.deny_modules;
    case List::deny_aliases: break;
    }
    return source.deny_aliases;
}

std::vector<core::PolicySource::Entry>& entries_of(core::PolicySource& source, List list) {
    switch (list) {
    case List::allow_modules: return source.allow_modules;
    case List::allow_aliases: return source.allow_aliases;
    case List::deny_modules: return source.deny_modules;
    case List::deny_aliases: break;
    }
    return source.deny_aliases;
}

sys::Result<std::string> check_module(std::string_view text, std::string_view pattern_hint) {
    using sys::ErrorKind;
    if (text.empty()) return sys::failure(ErrorKind::invalid, "an empty module name", "remove the entry");
    const auto name = core::module_name_of(text);
    if (text.find('/') != std::string_view::npos)
        return sys::failure(ErrorKind::invalid, in_quotes(text) + " is a path, not a module name",
                            name ? fmt::format("write \"{}\"", *name) : "write the module's name alone");
    if (text.find_first_of("*?[]") != std::string_view::npos)
        return sys::failure(ErrorKind::invalid, in_quotes(text) + " is a pattern, not a module name",
                            std::string(pattern_hint));
    if (text.find(':') != std::string_view::npos)
        return sys::failure(ErrorKind::invalid, in_quotes(text) + " is an alias, not a module name",
                            std::string(pattern_hint));
    if (!name && text.size() > core::max_module_name)
        return sys::failure(ErrorKind::invalid,
                            fmt::format("{} is longer than a module name can be ({} bytes)", in_quotes(text),
                                        core::max_module_name),
                            "write the name as lsmod shows it");
    if (!name)
        return sys::failure(ErrorKind::invalid, in_quotes(text) + " is not a module name",
                            "letters, digits, '_', '-', '+' and '.' only, as lsmod shows it");
    return *name;
}

sys::Result<std::string> check_entry(List list, std::string_view text) {
    if (!holds_modules(list)) return check_alias(text);
    return check_module(text, fmt::format("patterns and aliases go in {}.aliases", table_of(list)));
}

std::string comparison_key(List list, std::string_view entry) {
    if (!holds_modules(list)) return core::fold_pattern(entry);
    return core::module_name_of(entry).value_or(std::string(entry));
}

std::string_view nearest(std::string_view word, std::span<const std::string_view> candidates) {
    std::string_view best;
    if (word.size() > max_word) return best;
    std::size_t best_distance = max_word;
    for (const std::string_view candidate : candidates) {
        const std::size_t shorter = std::min(word.size(), candidate.size());
        const std::size_t longer = std::max(word.size(), candidate.size());
        const std::size_t tolerance = longer / 3;
        if (longer - shorter > tolerance || longer - shorter >= best_distance)
            continue; // it cannot be nearer
        const std::size_t distance = core::edit_distance(word, candidate);
        if (distance > tolerance || distance >= best_distance) continue;
        best = candidate;
        best_distance = distance;
    }
    return best;
}

} // namespace kmodguard::config
