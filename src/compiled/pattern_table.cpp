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

constexpr std::uint32_t few = 8;
constexpr std::size_t max_text = 4096;

} // namespace

std::uint64_t PatternTable::signature_of(std::string_view text) {
    std::uint64_t bits = 0;
    for (std::size_t i = 1; i < text.size(); ++i) {
        const auto pair = static_cast<unsigned>(static_cast<unsigned char>(text[i - 1])) << 8U
                          | static_cast<unsigned char>(text[i]);
        bits |= std::uint64_t{1} << (pair * 40503U >> 8U & 63U);
    }
    return bits;
}

/// Of the literal parts of what follows a beginning, up to where a set or an escape makes it hard to say what
/// is literal.
std::uint64_t PatternTable::signature_of_parts(std::string_view rest) {
    std::uint64_t bits = 0;
    rest = rest.substr(0, rest.find_first_of("[\\"));
    while (!rest.empty()) {
        const std::size_t wildcard = std::min(rest.find_first_of("*?"), rest.size());
        bits |= signature_of(rest.substr(0, wildcard));
        rest.remove_prefix(std::min(wildcard + 1, rest.size()));
    }
    return bits;
}

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

void PatternTable::write(FileWriter& writer, const Kind& kind, std::vector<Alias> all) {
    const auto beginning_of = [&kind](const Alias& alias) {
        const std::string_view pattern = alias.pattern;
        return pattern.substr(0, pattern.find_first_of(kind.wildcards));
    };
    std::erase_if(all, [](const Alias& alias) {
        return alias.pattern.size() > max_text || alias.module.size() > max_text;
    });
    std::ranges::sort(all, {}, [&](const Alias& alias) {
        return std::tuple(beginning_of(alias), alias.priority, std::string_view(alias.pattern),
                          std::string_view(alias.module));
    });
    all.erase(std::ranges::unique(all).begin(), all.end());

    std::vector<Entry> entries;
    std::vector<Signature> signatures;
    std::vector<Slot> beginnings; // not in their places yet
    std::map<std::string_view, std::map<std::uint32_t, Length>> families;
    std::string_view last;
    for (const Alias& alias : all) {
        const std::string_view beginning = beginning_of(alias);
        const std::string_view rest = std::string_view(alias.pattern).substr(beginning.size());
        if (entries.empty() || beginning != last) {
            beginnings.push_back(
                {hash_of(beginning), writer.add(beginning), {static_cast<std::uint32_t>(entries.size()), 0}});
            const auto length = static_cast<std::uint32_t>(beginning.size());
            families[family_of(beginning)]
                .try_emplace(length, Length{.length = length})
                .first->second.add(beginning);
            last = beginning;
        }
        ++beginnings.back().entries.count;
        entries.push_back({.rest_at = writer.add(rest).offset,
                           .module_at = writer.add(alias.module).offset,
                           .priority = alias.priority,
                           .rest_size = static_cast<std::uint16_t>(rest.size()),
                           .module_size = static_cast<std::uint16_t>(alias.module.size()),
                           .form = form_of(rest)});
        signatures.push_back({signature_of_parts(rest)});
    }
    std::vector<Slot> slots(slots_for(beginnings.size()));
    for (const Slot& slot : beginnings)
        slots[free_slot(slots, slot.hash, [](const Slot& taken) { return taken.entries.count == 0; })] = slot;
    std::vector<Length> lengths;
    std::vector<Family> family_slots(slots_for(families.size()));
    for (const auto& [family, of_family] : families) {
        const Range range{static_cast<std::uint32_t>(lengths.size()),
                          static_cast<std::uint32_t>(of_family.size())};
        for (const auto& [length, endings] : of_family)
            lengths.push_back(endings);
        family_slots[free_slot(family_slots, hash_of(family), [](const Family& taken) {
            return taken.lengths.count == 0;
        })] = {writer.add(family), range};
    }
    writer.set(kind.patterns, entries);
    writer.set(kind.slots, slots);
    writer.set(kind.lengths, lengths);
    writer.set(kind.families, family_slots);
    writer.set(kind.signatures, signatures);
}

PatternTable::PatternTable(const File& file, const Kind& kind)
    : file_(file), entries_(file.table<Entry>(kind.patterns)), slots_(file.table<Slot>(kind.slots)),
      lengths_(file.table<Length>(kind.lengths)), families_(file.table<Family>(kind.families)),
      signatures_(file.table<Signature>(kind.signatures)) {
    if (signatures_.size() != entries_.size()) signatures_ = {};
}

Range PatternTable::entries_of(std::string_view beginning, std::uint32_t hash) const {
    Range found;
    probe(slots_, hash, [&](const Slot& slot) {
        if (slot.entries.count == 0) return Probe::stop;
        if (slot.hash != hash || file_.text(slot.beginning) != beginning) return Probe::go_on;
        found = slot.entries;
        return Probe::stop;
    });
    return found;
}

bool PatternTable::matches(const Entry& entry, std::string_view text) const {
    if (entry.form == Form::nothing) return text.empty();
    if (entry.form == Form::anything) return true;
    const std::string_view rest = file_.text(entry.rest());
    if (entry.form == Form::stars && rest.starts_with('*')) return match_stars(rest, text);
    return ::fnmatch(std::string(rest).c_str(), std::string(text).c_str(), 0) == 0;
}

/// Those of `family` whose beginnings have at most `longest` characters.
void PatternTable::find(std::string_view family, std::string_view token, std::size_t longest,
                        std::vector<Found>& found) const {
    Range lengths;
    probe(families_, hash_of(family), [&](const Family& slot) {
        if (slot.lengths.count == 0) return Probe::stop;
        if (file_.text(slot.name) != family) return Probe::go_on;
        lengths = slot.lengths;
        return Probe::stop;
    });
    std::size_t hashed = 0;
    std::uint32_t hash = hash_of({});
    for (const Length& length : File::part(lengths_, lengths)) {
        if (length.length > longest) break;
        const std::string_view beginning = token.substr(0, length.length);
        if (!length.has_ending_of(beginning)) continue;
        hash = hash_of(beginning.substr(std::min(hashed, beginning.size())), hash);
        hashed = beginning.size();
        const Range range = entries_of(beginning, hash);
        if (range.count == 0) continue;
        // Of few it is quicker to look at the patterns themselves.
        const std::string_view rest = token.substr(beginning.size());
        const bool are_many = range.count > few && !signatures_.empty();
        const std::uint64_t missing = are_many ? ~signature_of(rest) : 0;
        const auto signatures = File::part(signatures_, range);
        const auto entries = File::part(entries_, range);
        for (std::size_t i = 0; i < entries.size(); ++i)
            if ((!are_many || (signatures[i].bits & missing) == 0) && matches(entries[i], rest))
                found.push_back({&entries[i], beginning});
    }
}

std::vector<PatternTable::Match> PatternTable::match(std::string_view token) const {
    std::vector<Found> found;
    const std::string_view family = family_of(token);
    find({}, token, family.empty() ? token.size() : family.size() - 1, found);
    if (!family.empty()) find(family, token, token.size(), found);
    if (found.empty()) return {};
    std::ranges::sort(found, {}, [](const Found& one) { return std::tuple(one.entry->priority, one.entry); });
    std::vector<Match> matching;
    matching.reserve(found.size());
    for (const Found& one : found)
        matching.push_back({one.beginning, file_.text(one.entry->rest()), file_.text(one.entry->module())});
    return matching;
}

void PatternTable::for_each(
    const std::function<void(std::string_view pattern, std::string_view module)>& visit) const {
    std::string pattern;
    for (const Slot& slot : slots_)
        for (const Entry& entry : File::part(entries_, slot.entries)) {
            pattern = file_.text(slot.beginning);
            pattern += file_.text(entry.rest());
            visit(pattern, file_.text(entry.module()));
        }
}

} // namespace kmodguard::compiled
