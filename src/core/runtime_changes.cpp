// SPDX-License-Identifier: AGPL-3.0-only
#include "core/runtime_changes.hpp"

#include <algorithm>

namespace kmodguard::core {
namespace {

using Entries = std::vector<PolicySource::Entry>;
using Names = std::set<std::string, std::less<>>;

bool lists(const Entries& entries, std::string_view module) {
    return std::ranges::find(entries, module, &PolicySource::Entry::text) != entries.end();
}

void drop(Entries& entries, const Names& names) {
    std::erase_if(entries, [&names](const PolicySource::Entry& entry) { return names.contains(entry.text); });
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

void RuntimeChanges::unmask_new_denials(const PolicySource& before, const PolicySource& now) {
    std::erase_if(removed, [&](const std::string& module) {
        return lists(now.deny_modules, module) && !lists(before.deny_modules, module);
    });
}

PolicySource with(PolicySource written, const RuntimeChanges& changes) {
    drop(written.allow_modules, changes.removed);
    drop(written.deny_modules, changes.removed);
    add(written.allow_modules, changes.allowed);
    add(written.deny_modules, changes.denied);
    if (changes.mode) written.mode = *changes.mode;
    return written;
}

} // namespace kmodguard::core
