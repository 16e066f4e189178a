// SPDX-License-Identifier: AGPL-3.0-only
#include "core/policy.hpp"

#include "core/module_index.hpp"
#include "core/pattern_set.hpp"

#include <algorithm>
#include <charconv>
#include <map>
#include <set>
#include <unordered_map>
#include <utility>

namespace kmodguard::core {
namespace {

template <typename Enum, std::size_t N>
std::optional<Enum> value_of(const std::array<std::string_view, N>& names, std::string_view text) {
    for (std::size_t i = 0; i < N; ++i)
        if (names[i] == text) return static_cast<Enum>(i);
    return std::nullopt;
}

// In the order of the enumerators.
constexpr std::array<std::string_view, 2> mode_names = {"enforce", "audit"};
constexpr std::array<std::string_view, 2> answer_names = {"refuse", "pretend"};
constexpr std::array<std::string_view, 4> point_names = {"autoload", "kernel", "process", "guest"};
constexpr std::array<std::string_view, 5> rule_names = {"allow.modules", "allow.aliases", "deny.modules",
                                                        "deny.aliases", "pin"};

using Entries = std::vector<PolicySource::Entry>;
using Numbers = std::unordered_map<std::string_view, std::uint32_t>; ///< in a list of the source

Numbers index_of(const Entries& entries) {
    Numbers index;
    index.reserve(entries.size());
    for (std::uint32_t i = 0; i < entries.size(); ++i)
        index.try_emplace(entries[i].text, i);
    return index;
}

PatternSet patterns_of(const Entries& entries) {
    PatternSet set;
    for (std::uint32_t i = 0; i < entries.size(); ++i)
        set.add(entries[i].text, i);
    return set;
}

std::optional<std::uint32_t> find(const Numbers& index, std::string_view module) {
    const auto found = index.find(module);
    return found == index.end() ? std::nullopt : std::optional(found->second);
}

std::optional<std::uint32_t> find_cover(const PatternSet& patterns, const std::vector<std::string>& aliases) {
    for (const std::string& alias : aliases)
        if (const auto number = patterns.covers(alias)) return number;
    return std::nullopt;
}

std::set<std::string_view> texts_of(const Entries& entries) {
    std::set<std::string_view> texts;
    for (const auto& entry : entries)
        texts.insert(entry.text);
    return texts;
}

bool has_all_of(const Entries& all, const Entries& part) {
    return std::ranges::includes(texts_of(all), texts_of(part));
}

bool loosens_pins(const PolicySource& now, const PolicySource& next) {
    std::set<std::string_view> pinned_now;
    std::set<std::pair<std::string_view, Sha256>> contents_now;
    for (const auto& pin : now.pins) {
        pinned_now.insert(pin.module);
        contents_now.emplace(pin.module, pin.sha256);
    }
    std::set<std::string_view> pinned_next;
    for (const auto& pin : next.pins) {
        pinned_next.insert(pin.module);
        if (pinned_now.contains(pin.module) && !contents_now.contains({pin.module, pin.sha256})) return true;
    }
    return !std::ranges::includes(pinned_next, pinned_now);
}

/// Whether audit mode begins, or ends later.
bool audits_longer(const PolicySource& now, const PolicySource& next) {
    if (next.mode != Mode::audit) return false;
    if (now.mode != Mode::audit) return true;
    return now.audit_ends && (!next.audit_ends || *next.audit_ends > *now.audit_ends);
}

} // namespace

bool Rule::operator==(const Rule&) const = default;

std::string_view to_string(Mode mode) {
    return mode_names.at(static_cast<std::size_t>(mode));
}
std::string_view to_string(CallerAnswer answer) {
    return answer_names.at(static_cast<std::size_t>(answer));
}
std::string_view to_string(Point point) {
    return point_names.at(static_cast<std::size_t>(point));
}
std::string_view to_string(RuleKind kind) {
    return rule_names.at(static_cast<std::size_t>(kind));
}
std::optional<Mode> mode_from(std::string_view text) {
    return value_of<Mode>(mode_names, text);
}
std::optional<CallerAnswer> answer_from(std::string_view text) {
    return value_of<CallerAnswer>(answer_names, text);
}
std::optional<Point> point_from(std::string_view text) {
    return value_of<Point>(point_names, text);
}

std::optional<Sha256> sha256_from(std::string_view hex) {
    Sha256 hash{};
    if (hex.size() != hash.size() * 2) return std::nullopt;
    for (std::size_t i = 0; i < hash.size(); ++i) {
        const char* const digits = hex.data() + 2 * i;
        if (std::from_chars(digits, digits + 2, hash[i], 16).ptr != digits + 2) return std::nullopt;
    }
    return hash;
}

bool PolicySource::wants(Point point) const {
    return points.empty() || std::ranges::find(points, point) != points.end();
}

bool loosens(const PolicySource& now, const PolicySource& next) {
    constexpr std::array points = {Point::autoload, Point::kernel, Point::process, Point::guest};
    const bool leaves_a_point =
        std::ranges::any_of(points, [&](Point point) { return now.wants(point) && !next.wants(point); });
    return leaves_a_point || audits_longer(now, next) || (!now.dependencies && next.dependencies)
           || (now.unload_denied && !next.unload_denied) || (!now.user_namespaces && next.user_namespaces)
           || !has_all_of(now.allow_modules, next.allow_modules)
           || !has_all_of(now.allow_aliases, next.allow_aliases)
           || !has_all_of(next.deny_modules, now.deny_modules)
           || !has_all_of(next.deny_aliases, now.deny_aliases) || loosens_pins(now, next);
}

/// Where what is in which list: texts and patterns to numbers in the source's lists.
struct Policy::Indexes {
    explicit Indexes(const PolicySource& source)
        : allow_modules(index_of(source.allow_modules)), deny_modules(index_of(source.deny_modules)),
          allow_patterns(patterns_of(source.allow_aliases)), deny_patterns(patterns_of(source.deny_aliases)) {
        for (const PolicySource::PinEntry& pin : source.pins)
            pins[pin.module].push_back(pin);
    }

    Numbers allow_modules;
    Numbers deny_modules;
    PatternSet allow_patterns;
    PatternSet deny_patterns; ///< those of deny_aliases, then with the numbers that follow, of deny_modules
    std::unordered_map<std::string_view, std::vector<PolicySource::PinEntry>> pins;
    /// The modules that have a denied alias in the index, and the number of the first rule; nothing: not
    /// known.
    std::optional<std::map<std::string, std::uint32_t, std::less<>>> denied_by_alias;
};

Policy::Policy() : Policy(PolicySource{}) {}

Policy::Policy(PolicySource source)
    : source_(std::make_shared<const PolicySource>(std::move(source))),
      indexes_(std::make_shared<const Indexes>(*source_)) {}

Policy Policy::for_modules_of(ModuleIndex& index) const {
    auto indexes = std::make_shared<Indexes>(*source_);
    const auto first = static_cast<std::uint32_t>(source_->deny_aliases.size());
    for (std::uint32_t i = 0; i < source_->deny_modules.size(); ++i) {
        const std::string& name = source_->deny_modules[i].text;
        if (index.find(name) == nullptr) indexes->deny_patterns.add(name, first + i);
    }
    if (!indexes->deny_patterns.empty()) {
        std::map<std::string, std::uint32_t, std::less<>> denied;
        const bool are_all = index.for_each_alias([&](std::string_view alias, std::string_view module) {
            const auto number = indexes->deny_patterns.covers(alias);
            if (!number) return;
            const auto [known, is_new] = denied.try_emplace(std::string(module), *number);
            known->second = std::min(known->second, *number);
        });
        if (are_all) indexes->denied_by_alias = std::move(denied);
    }
    Policy fitted(*this);
    fitted.indexes_ = std::move(indexes);
    return fitted;
}

Rule Policy::rule(RuleKind kind, std::string_view text, Origin origin) const {
    const bool written = origin.line != 0 && origin.file < source_->files.size();
    return {kind, std::string(text), written ? source_->files[origin.file] : std::string{},
            written ? origin.line : 0};
}

std::optional<Rule> Policy::entry(RuleKind kind, const Entries& entries,
                                  std::optional<std::uint32_t> number) const {
    if (!number) return std::nullopt;
    return rule(kind, entries[*number].text, entries[*number].origin);
}

std::optional<Rule> Policy::denying_entry(std::optional<std::uint32_t> number) const {
    const std::size_t patterns = source_->deny_aliases.size();
    if (number && *number >= patterns)
        return entry(RuleKind::deny_module, source_->deny_modules,
                     *number - static_cast<std::uint32_t>(patterns));
    return entry(RuleKind::deny_alias, source_->deny_aliases, number);
}

std::optional<Rule> Policy::allows_module(std::string_view module) const {
    return entry(RuleKind::allow_module, source_->allow_modules, find(indexes_->allow_modules, module));
}

std::optional<Rule> Policy::denies_module(std::string_view module) const {
    return entry(RuleKind::deny_module, source_->deny_modules, find(indexes_->deny_modules, module));
}

std::optional<Rule> Policy::allows_token(std::string_view token) const {
    return entry(RuleKind::allow_alias, source_->allow_aliases, indexes_->allow_patterns.match(token));
}

std::optional<Rule> Policy::denies_token(std::string_view token) const {
    return denying_entry(indexes_->deny_patterns.match(token));
}

std::optional<Rule> Policy::denies_aliases(const std::vector<std::string>& aliases) const {
    return denying_entry(find_cover(indexes_->deny_patterns, aliases));
}

std::optional<std::optional<Rule>> Policy::denies_indexed_aliases(std::string_view module) const {
    if (!indexes_->denied_by_alias) return std::nullopt;
    const auto found = indexes_->denied_by_alias->find(module);
    if (found == indexes_->denied_by_alias->end()) return std::optional<Rule>();
    return denying_entry(found->second);
}

std::optional<std::uint32_t> Policy::pattern_allowing(std::string_view alias) const {
    return indexes_->allow_patterns.covers(alias);
}

bool Policy::has_pattern_denying(std::string_view alias) const {
    return indexes_->deny_patterns.covers(alias).has_value();
}

bool Policy::has_deny_aliases() const {
    return !indexes_->deny_patterns.empty();
}

std::vector<PolicySource::PinEntry> Policy::pins(std::string_view module) const {
    const auto found = indexes_->pins.find(module);
    if (found == indexes_->pins.end()) return {};
    return found->second;
}

} // namespace kmodguard::core
