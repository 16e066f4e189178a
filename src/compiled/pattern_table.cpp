// SPDX-License-Identifier: AGPL-3.0-only
#include "compiled/pattern_table.hpp"

#include "compiled/hash_table.hpp"

#include <fnmatch.h>

#include <algorithm>
#include <map>
#include <tuple>

namespace kmodguard::compiled {
namespace {

/// Whether `text` matches `pattern`, which begins with '*' and has no other wildcard: what is between two of
/// them is looked for as early as it can be, which leaves the most to what follows.
bool match_stars(std::string_view pattern, std::string_view text) {
    pattern.remove_prefix(1);
    for (std::size_t star = pattern.find('*'); star != std::string_view::npos; star = pattern.find('*')) {
        const std::size_t found = text.find(pattern.substr(0, star));
        if (found == std::string_view::npos) return false;
        text.remove_prefix(found + star);
        pattern.remove_prefix(star + 1);
    }
    return text.ends_with(pattern);
}

} // namespace

PatternTable::Form PatternTable::form_of(std::string_view rest) {
    if (rest.empty()) return Form::nothing;
    if (rest == "*") return Form::anything;
    const bool is_stars = rest.starts_with('*') && rest.find_first_of("?[\\") == std::string_view::npos;
    return is_stars ? Form::stars : Form::pattern;
}

void PatternTable::Length::add(std::string_view beginning) {
    const unsigned last = beginning.empty() ? 0 : static_cast<unsigned char>(beginning.back());
    endings.at(last / 64) |= std::uint64_t{1} << (last % 64);
}

bool PatternTable::Length::has_ending_of(std::string_view beginning) const {
    const unsigned last = beginning.empty() ? 0 : static_cast<unsigned char>(beginning.back());
    return (endings[last / 64] >> (last % 64) & 1U) != 0;
}

void PatternTable::write(FileWriter& writer, const Kind& kind, std::vector<Alias> aliases) {
    const auto beginning_of = [&kind](const Alias& alias) {
        const std::string_view pattern = alias.pattern;
        return pattern.substr(0, pattern.find_first_of(kind.wildcards));
    };
    std::ranges::sort(aliases, {}, [&](const Alias& alias) {
        return std::tuple(beginning_of(alias), alias.priority, std::string_view(alias.pattern),
                          std::string_view(alias.module));
    });
    aliases.erase(std::ranges::unique(aliases).begin(), aliases.end());

    std::vector<Entry> entries;
    std::vector<Slot> beginnings; // not in their places yet
    std::map<std::uint32_t, Length> lengths;
    std::string_view last;
    for (const Alias& alias : aliases) {
        const std::string_view beginning = beginning_of(alias);
        const auto length = static_cast<std::uint32_t>(beginning.size());
        if (entries.empty() || beginning != last) {
            beginnings.push_back({hash_of(beginning), {static_cast<std::uint32_t>(entries.size()), 0}});
            lengths.try_emplace(length, Length{.length = length}).first->second.add(beginning);
            last = beginning;
        }
        ++beginnings.back().entries.count;
        entries.push_back({.pattern = writer.add(alias.pattern),
                           .module = writer.add(alias.module),
                           .literal = length,
                           .form = form_of(std::string_view(alias.pattern).substr(length)),
                           .priority = alias.priority});
    }
    std::vector<Slot> slots(slots_for(beginnings.size()));
    for (const Slot& slot : beginnings)
        slots[free_slot(slots, slot.hash, [](const Slot& taken) { return taken.entries.count == 0; })] = slot;
    std::vector<Length> by_length;
    for (const auto& [length, endings] : lengths)
        by_length.push_back(endings);
    writer.set(kind.patterns, entries);
    writer.set(kind.slots, slots);
    writer.set(kind.lengths, by_length);
}

PatternTable::PatternTable(const File& file, const Kind& kind)
    : file_(file), entries_(file.table<Entry>(kind.patterns)), slots_(file.table<Slot>(kind.slots)),
      lengths_(file.table<Length>(kind.lengths)) {}

std::span<const PatternTable::Entry> PatternTable::entries_of(std::string_view beginning,
                                                              std::uint32_t hash) const {
    std::span<const Entry> found;
    probe(slots_, hash, [&](const Slot& slot) {
        if (slot.entries.count == 0) return Probe::stop;
        if (slot.hash != hash) return Probe::go_on;
        const auto entries = File::part(entries_, slot.entries);
        if (entries.empty()) return Probe::go_on;
        const Entry& first = entries.front();
        if (first.literal != beginning.size() || !file_.text(first.pattern).starts_with(beginning))
            return Probe::go_on;
        found = entries;
        return Probe::stop;
    });
    return found;
}

bool PatternTable::matches(const Entry& entry, std::string_view token) const {
    if (entry.form == Form::nothing) return token.size() == entry.literal;
    if (entry.form == Form::anything) return true;
    const std::string_view pattern = file_.text(entry.pattern);
    if (pattern.size() < entry.literal) return false;
    const std::string_view rest = pattern.substr(entry.literal);
    if (entry.form == Form::stars && rest.starts_with('*'))
        return match_stars(rest, token.substr(entry.literal));
    return ::fnmatch(std::string(rest).c_str(), std::string(token.substr(entry.literal)).c_str(), 0) == 0;
}

std::vector<PatternTable::Match> PatternTable::match(std::string_view token) const {
    std::vector<const Entry*> found;
    std::size_t hashed = 0;
    std::uint32_t hash = hash_of({});
    for (const Length& length : lengths_) {
        if (length.length > token.size()) break;
        const std::string_view beginning = token.substr(0, length.length);
        if (!length.has_ending_of(beginning)) continue;
        hash = hash_of(beginning.substr(std::min(hashed, beginning.size())), hash);
        hashed = beginning.size();
        for (const Entry& entry : entries_of(beginning, hash))
            if (matches(entry, token)) found.push_back(&entry);
    }
    std::ranges::stable_sort(found, {}, &Entry::priority);
    std::vector<Match> matching;
    for (const Entry* entry : found)
        matching.push_back({file_.text(entry->pattern), file_.text(entry->module)});
    return matching;
}

void PatternTable::for_each(
    const std::function<void(std::string_view pattern, std::string_view module)>& visit) const {
    for (const Entry& entry : entries_)
        visit(file_.text(entry.pattern), file_.text(entry.module));
}

} // namespace kmodguard::compiled
