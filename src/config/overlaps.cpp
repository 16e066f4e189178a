// SPDX-License-Identifier: AGPL-3.0-only
//
// Rules that repeat or contradict one another. The reader and the linter both say these, in the same words.
#include "config/entry.hpp"
#include "config/policy_schema.hpp"

#include <fmt/format.h>

#include <set>
#include <unordered_map>
#include <utility>

namespace kmodguard::config {
namespace {

using Entry = core::PolicySource::Entry;

/// The text is in our own words or a checked entry, so it can be shown as it is.
class Overlaps {
  public:
    explicit Overlaps(const core::PolicySource& source) : source_(source) {}

    Diagnostics find() && {
        for (const List list : all_lists)
            find_duplicates(list);
        find_contradictions(List::allow_modules, List::deny_modules);
        find_contradictions(List::allow_aliases, List::deny_aliases);
        find_repeated_pins();
        return std::move(found_);
    }

  private:
    using Index = std::unordered_map<std::string, const Entry*>;

    void find_duplicates(List list) {
        Index first;
        std::set<std::string> said;
        for (const Entry& entry : entries_of(source_, list)) {
            const std::string key = comparison_key(list, entry.text);
            const auto [it, fresh] = first.try_emplace(key, &entry);
            if (fresh || !said.insert(key).second) continue;
            warn(entry.origin,
                 fmt::format("{} already lists \"{}\"{}", path_of(list), entry.text, at(it->second->origin)),
                 "remove one of them");
        }
    }

    void find_contradictions(List allow, List deny) {
        Index denied;
        for (const Entry& entry : entries_of(source_, deny))
            denied.try_emplace(comparison_key(deny, entry.text), &entry);
        std::set<std::string> said;
        for (const Entry& entry : entries_of(source_, allow)) {
            const std::string key = comparison_key(allow, entry.text);
            const auto it = denied.find(key);
            if (it == denied.end() || !said.insert(key).second) continue;
            warn(
                entry.origin,
                fmt::format("\"{}\" is both allowed and denied{}: it will be refused", entry.text,
                            at(it->second->origin)),
                fmt::format("deny always wins: remove it from {} or from {}", path_of(allow), path_of(deny)));
        }
    }

    void find_repeated_pins() {
        std::set<std::pair<std::string_view, core::Sha256>> seen;
        for (const auto& pin : source_.pins)
            if (!seen.emplace(pin.module, pin.sha256).second)
                warn(pin.origin, fmt::format("this pin of \"{}\" is given twice", pin.module),
                     "remove one of them");
    }

    /// " (file:line)", or nothing for what was given at run time.
    [[nodiscard]] std::string at(core::Origin origin) const {
        if (origin.line == 0 || origin.file >= source_.files.size()) return {};
        return fmt::format(" (line {} of {})", origin.line, source_.files[origin.file]);
    }

    void warn(core::Origin origin, std::string message, std::string hint) {
        const bool written = origin.line != 0 && origin.file < source_.files.size();
        found_.push_back({Severity::warning, written ? source_.files[origin.file] : std::string{},
                          written ? origin.line : 0, 0, std::move(message), std::move(hint)});
    }

    const core::PolicySource& source_;
    Diagnostics found_;
};

} // namespace

Diagnostics find_overlaps(const core::PolicySource& source) {
    return Overlaps(source).find();
}

} // namespace kmodguard::config
