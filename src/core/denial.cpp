// SPDX-License-Identifier: AGPL-3.0-only
#include "core/denial.hpp"

namespace kmodguard::core {
namespace {

std::optional<Denial> denial_by_name(const Policy& policy, const std::string& module) {
    if (auto rule = policy.denies_module(module)) return Denial{Reason::denied_module, std::move(rule), {}};
    if (auto rule = policy.denies_token(module)) return Denial{Reason::denied_alias, std::move(rule), {}};
    return std::nullopt;
}

std::optional<Denial> denial_by_aliases(const Policy& policy, const std::vector<std::string>& aliases) {
    if (auto rule = policy.denies_aliases(aliases)) return Denial{Reason::denied_alias, std::move(rule), {}};
    return std::nullopt;
}

} // namespace

std::optional<Denial> denial_of(const Policy& policy, ModuleIndex& index, const std::string& module) {
    if (auto denial = denial_by_name(policy, module)) return denial;
    if (!policy.has_deny_aliases()) return std::nullopt;
    if (!index.knows_aliases(module)) {
        if (!policy.refuses_unknown_aliases()) return std::nullopt;
        return Denial{Reason::unreadable_image, std::nullopt,
                      "its aliases are not known, and the policy denies aliases"};
    }
    return denial_by_aliases(policy, index.aliases(module));
}

std::optional<Denial> denial_of_brought(const Policy& policy, ModuleIndex& index, const std::string& module) {
    return index.find(module) == nullptr ? denial_by_name(policy, module) : denial_of(policy, index, module);
}

std::optional<Denial> denial_of_image(const Policy& policy, ModuleIndex& index, const std::string& module,
                                      const ImageFacts& facts) {
    if (!facts.aliases || index.find(module) != nullptr) return denial_of(policy, index, module);
    if (auto denial = denial_by_name(policy, module)) return denial;
    return denial_by_aliases(policy, *facts.aliases);
}

} // namespace kmodguard::core
