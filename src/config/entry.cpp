// SPDX-License-Identifier: AGPL-3.0-only
#include "config/entry.hpp"

#include "core/names.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <unordered_map>
#include <utility>

namespace kmodguard::config {
namespace {

constexpr std::size_t max_word = 64;

struct Row {
    std::string_view table;
    std::string_view key;
    std::vector<core::PolicySource::Entry> core::PolicySource::* entries;
};

// In the order of the enumerators.
constexpr std::array<Row, 4> list_rows = {{{"allow", "modules", &core::PolicySource::allow_modules},
                                           {"allow", "aliases", &core::PolicySource::allow_aliases},
                                           {"deny", "modules", &core::PolicySource::deny_modules},
                                           {"deny", "aliases", &core::PolicySource::deny_aliases}}};

/// What may be no entry, and what to do about it.
auto invalid_entry(std::string what, std::string hint) {
    return sys::failure(sys::ErrorKind::invalid, std::move(what), std::move(hint));
}

sys::Result<std::string> check_alias(std::string_view text) {
    if (core::is_token(text)) return std::string(text);
    if (text.empty()) return invalid_entry("an empty alias", "remove the entry");
    if (text.size() > core::max_token)
        return invalid_entry(
            fmt::format("an alias of {} bytes; at most {} are possible", text.size(), core::max_token),
            "cut it short with '*'");
    if (text.front() == '-')
        return invalid_entry(in_quotes(text)
                                 + " begins with '-': no alias does, it would be taken for an option",
                             "remove the '-'");
    return invalid_entry(in_quotes(text) + " holds control characters",
                         "write the alias as `modinfo -F alias` shows it");
}

/// " (line 3 of FILE)", or nothing for what was given at run time.
std::string location_of(const core::PolicySource& source, core::Origin origin) {
    if (origin.line == 0 || origin.file >= source.files.size()) return {};
    return fmt::format(" (line {} of {})", origin.line, source.files[origin.file]);
}

/// Calls `use` with an entry of `list`, and the first of `other` that means the same and is another one. Once
/// for each meaning.
template <typename Use>
void each_match(const core::PolicySource& source, List list, List other, Use use) {
    using Entry = core::PolicySource::Entry;
    std::unordered_map<std::string, const Entry*> first;
    for (const Entry& entry : entries_of(source, other))
        first.try_emplace(comparison_key(other, entry.text), &entry);
    std::set<std::string> used;
    for (const Entry& entry : entries_of(source, list)) {
        const std::string key = comparison_key(list, entry.text);
        const auto match = first.find(key);
        if (match != first.end() && match->second != &entry && used.insert(key).second)
            use(entry, *match->second);
    }
}

} // namespace

std::string_view table_of(List list) {
    return list_rows.at(static_cast<std::size_t>(list)).table;
}

std::string_view key_of(List list) {
    return list_rows.at(static_cast<std::size_t>(list)).key;
}

std::string path_of(List list) {
    return fmt::format("{}.{}", table_of(list), key_of(list));
}

bool holds_modules(List list) {
    return list == List::allow_modules || list == List::deny_modules;
}

const std::vector<core::PolicySource::Entry>& entries_of(const core::PolicySource& source, List list) {
    return source.*list_rows.at(static_cast<std::size_t>(list)).entries;
}

std::vector<core::PolicySource::Entry>& entries_of(core::PolicySource& source, List list) {
    return source.*list_rows.at(static_cast<std::size_t>(list)).entries;
}

sys::Result<std::string> check_module(std::string_view text, std::string_view pattern_hint) {
    if (text.empty()) return invalid_entry("an empty module name", "remove the entry");
    const auto name = core::module_name_of(text);
    if (text.contains('/'))
        return invalid_entry(in_quotes(text) + " is a path, not a module name",
                             name ? fmt::format("write \"{}\"", *name) : "write the module's name alone");
    if (text.find_first_of("*?[]") != std::string_view::npos)
        return invalid_entry(in_quotes(text) + " is a pattern, not a module name", std::string(pattern_hint));
    if (text.contains(':'))
        return invalid_entry(in_quotes(text) + " is an alias, not a module name", std::string(pattern_hint));
    if (name) return *name;
    if (text.size() > core::max_module_name)
        return invalid_entry(fmt::format("{} is longer than a module name can be ({} bytes)", in_quotes(text),
                                         core::max_module_name),
                             "write the name as lsmod shows it");
    return invalid_entry(in_quotes(text) + " is not a module name",
                         "letters, digits, '_', '-', '+' and '.' only, as lsmod shows it");
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
        const auto [shorter, longer] = std::minmax({word.size(), candidate.size()});
        const std::size_t limit = std::min(longer / 3 + 1, best_distance);
        if (longer - shorter >= limit) continue; // it cannot be nearer
        const std::size_t distance = core::edit_distance(word, candidate);
        if (distance >= limit) continue;
        best = candidate;
        best_distance = distance;
    }
    return best;
}

Diagnostics find_overlaps(const core::PolicySource& source) {
    // What is shown is in our own words, or a checked entry.
    Diagnostics found;
    const auto warn = [&](core::Origin origin, std::string message, std::string hint) {
        found.push_back(warning_at(source, origin, std::move(message), std::move(hint)));
    };
    for (const List list : all_lists)
        each_match(source, list, list, [&](const auto& entry, const auto& first) {
            warn(entry.origin,
                 fmt::format("{} already lists \"{}\"{}", path_of(list), entry.text,
                             location_of(source, first.origin)),
                 "remove one of them");
        });
    for (const auto& [allow, deny] : {std::pair(List::allow_modules, List::deny_modules),
                                      std::pair(List::allow_aliases, List::deny_aliases)})
        each_match(source, allow, deny, [&](const auto& entry, const auto& denied) {
            warn(
                entry.origin,
                fmt::format("\"{}\" is both allowed and denied{}: it will be refused", entry.text,
                            location_of(source, denied.origin)),
                fmt::format("deny always wins: remove it from {} or from {}", path_of(allow), path_of(deny)));
        });
    std::set<std::pair<std::string_view, core::Sha256>> seen;
    for (const auto& pin : source.pins)
        if (!seen.emplace(pin.module, pin.sha256).second)
            warn(pin.origin, fmt::format("this pin of \"{}\" is given twice", pin.module),
                 "remove one of them");
    return found;
}

} // namespace kmodguard::config
