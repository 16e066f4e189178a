// SPDX-License-Identifier: AGPL-3.0-only
//
// What `kmodctl allow`, `deny`, `remove` and `mode` change at run time: kept apart from the policy as
// written, so that it can be dropped, shown as unsaved, or saved.
#pragma once

#include "core/policy.hpp"

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>

namespace kmodguard::core {

struct RuntimeChanges {
    std::set<std::string, std::less<>> allowed; ///< canonical names, not in the written allow.modules
    std::set<std::string, std::less<>> denied;  ///< canonical names, not in the written deny.modules
    std::set<std::string, std::less<>> removed; ///< masks them in the written lists
    /// Alias patterns that are not in the written deny.aliases: folded, and as they were given.
    std::map<std::string, std::string, std::less<>> denied_aliases;
    std::set<std::string, std::less<>> removed_aliases; ///< folded; masks them in the written lists
    std::optional<Mode> mode;

    [[nodiscard]] std::size_t count() const {
        return allowed.size() + denied.size() + removed.size() + denied_aliases.size()
               + removed_aliases.size() + (mode ? 1 : 0);
    }

    void allow(const PolicySource& written, std::string_view module);
    void deny(const PolicySource& written, std::string_view module);
    void deny_alias(const PolicySource& written, std::string_view pattern);
    /// Takes `module` off whichever list it is on. False if it is on none.
    [[nodiscard]] bool remove(const PolicySource& written, std::string_view module);
    /// The same of an alias pattern, in any spelling.
    [[nodiscard]] bool remove_alias(const PolicySource& written, std::string_view pattern);

    /// A name or alias that was taken off the lists, and that the administrator has since written on the deny
    /// list, is denied.
    void unmask_new_denials(const PolicySource& before, const PolicySource& now);
};

/// `written` as `changes` alter it.
[[nodiscard]] PolicySource with(PolicySource written, const RuntimeChanges& changes);

} // namespace kmodguard::core
