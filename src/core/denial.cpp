// SPDX-License-Identifier: AGPL-3.0-only
#include "core/denial.hpp"

namespace kmodguard::core {

std::optional<Denial> denial_of(const Policy& policy, ModuleIndex& index, const std::string& module) {
    if (auto rule = policy.denies_module(module)) return Denial{Reason::denied_module, std::move(rule)};
    if (!policy.has_deny_aliases()) return std::nullopt;
    if (!index.knows_aliases(module)) return Denial{Reason::unreadable_image, std::nullopt};
    auto rule = policy.denies_token(module);
    if (!rule) rule = policy.denies_aliases(index.aliases(module));
    if (rule) return Denial{Reason::denied_alias, std::move(rule)};
    return std::nullopt;
}

} // namespace kmodguard::core
