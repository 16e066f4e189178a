// SPDX-License-Identifier: AGPL-3.0-only
#include "core/denial.hpp"

namespace kmodguard::core {
namespace {

std::optional<Denial> name_denial(const Policy& policy, const std::string& module) {
    if (auto rule = policy.denies_module(module)) return Denial{Reason::denied_module, std::move(rule), {}};
    if (auto rule = policy.denies_token(module)) return Denial{Reason::denied_alias, std::move(rule), {}};
    return std::nullopt;
}

std::optional<Denial> alias_denial(const Policy& policy, const std::vector<std::string>& aliases) {
    if (auto rule = policy.denies_aliases(aliases)) return Denial{Reason::denied_alias, std::move(rule), {}};
    return std::nullopt;
}

} // namespace

std::optional<Denial> module_denial(const Policy& policy, ModuleIndex& index, const std::string& module) {
    if (auto denial = name_denial(policy, module)) return denial;
    if (!policy.has_deny_aliases()) return std::nullopt;
    if (const auto* aliases = index.aliases(module)) return alias_denial(policy, *aliases);
    if (!policy.refuses_unknown_aliases()) return std::nullopt;
    return Denial{Reason::unreadable_image, std::nullopt,
                  "its aliases are not known, and the policy denies aliases"};
}

std::optional<Denial> indexed_denial(const Policy& policy, ModuleIndex& index, const std::string& module) {
    const ModuleRecord* record = index.find(module);
    const bool has_image = record != nullptr && !record->built_in && !record->command_only;
    const auto indexed = has_image ? policy.denies_indexed_aliases(module) : std::nullopt;
    if (!indexed) return module_denial(policy, index, module);
    if (auto denial = name_denial(policy, module)) return denial;
    if (*indexed) return Denial{Reason::denied_alias, *indexed, {}};
    return std::nullopt;
}

std::optional<Denial> dependency_denial(const Policy& policy, ModuleIndex& index, const std::string& module) {
    return index.find(module) == nullptr ? name_denial(policy, module) : module_denial(policy, index, module);
}

std::optional<Denial> image_denial(const Policy& policy, ModuleIndex& index, const std::string& module,
                                   const ImageFacts& facts) {
    if (!policy.has_deny_aliases()) return name_denial(policy, module); // to look for it in vain takes long
    if (!facts.aliases || index.find(module) != nullptr) return module_denial(policy, index, module);
    if (auto denial = name_denial(policy, module)) return denial;
    return alias_denial(policy, *facts.aliases);
}

} // namespace kmodguard::core
