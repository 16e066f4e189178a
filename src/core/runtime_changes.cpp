// SPDX-License-Identifier: AGPL-3.0-only
#include "core/runtime_changes.hpp"

#include "core/names.hpp"

#include <algorithm>

namespace kmodguard::core {
namespace {

using Entries = std::vector<PolicySource::Entry>;
using Names = std::set<std::string, std::less<>>;

// What is compared is folded: of a module's canonical name that is the name itself.

bool lists(const Entries& entries, std::string_view folded) {
    return std::ranges::any_of(
        entries, [folded](const PolicySource::Entry& entry) { return fold_pattern(entry.text) == folded; });
}

void drop(Entries& entries, const Names& folded) {
    std::erase_if(entries, [&folded](const PolicySource::Entry& entry) {
        return folded.contains(fold_pattern(entry.text));
    });
}

void add(Entries& entries, const Names& names) {
    for (const std::string& name : names)
        entries.push_back({name, {}});
}

} // namespace

void RuntimeChanges::allow(const PolicySource& written, std::string_view module) {
    // Unmasking a name would bring back a written denial along with the written permission.
    const bool unmask = removed.contains(module) && !lists(written.deny_modules, module);
    if (unmask) removed.erase(removed.find(module));
    if (!lists(written.allow_modules, module) || removed.contains(module)) allowed.emplace(module);
}

void RuntimeChanges::deny(const PolicySource& written, std::string_view module) {
    if (!lists(written.deny_modules, module) || removed.contains(module)) denied.emplace(module);
}

bool RuntimeChanges::remove(const PolicySource& written, std::string_view module) {
    bool found = allowed.erase(std::string(module)) > 0;
    found = denied.erase(std::string(module)) > 0 || found;
    const bool listed = lists(written.allow_modules, module) || lists(written.deny_modules, module);
    return (listed && removed.emplace(module).second) || found;
}

void RuntimeChanges::deny_alias(const PolicySource& written, std::string_view pattern) {
    std::string folded = fold_pattern(pattern);
    if (!lists(written.deny_aliases, folded) || removed_aliases.contains(folded))
        denied_aliases.emplace(std::move(folded), pattern);
}

bool RuntimeChanges::remove_alias(const PolicySource& written, std::string_view pattern) {
    std::string folded = fold_pattern(pattern);
    const bool found = denied_aliases.erase(folded) > 0;
    const bool listed = lists(written.allow_aliases, folded) || lists(written.deny_aliases, folded);
    return (listed && removed_aliases.insert(std::move(folded)).second) || found;
}

void RuntimeChanges::unmask_new_denials(const PolicySource& before, const PolicySource& now) {
    std::erase_if(removed, [&](const std::string& module) {
        return lists(now.deny_modules, module) && !lists(before.deny_modules, module);
    });
    std::erase_if(removed_aliases, [&](const std::string& folded) {
        return lists(now.deny_aliases, folded) && !lists(before.deny_aliases, folded);
    });
}

PolicySource with(PolicySource written, const RuntimeChanges& changes) {
    drop(written.allow_modules, changes.removed);
    drop(written.deny_modules, changes.removed);
    drop(written.allow_aliases, changes.removed_aliases);
    drop(written.deny_aliases, changes.removed_aliases);
    add(written.allow_modules, changes.allowed);
    add(written.deny_modules, changes.denied);
    for (const auto& [folded, pattern] : changes.denied_aliases)
        written.deny_aliases.push_back({pattern, {}});
    if (changes.mode) written.mode = *changes.mode;
    return written;
}

} // namespace kmodguard::core
