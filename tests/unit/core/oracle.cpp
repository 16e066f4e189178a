// SPDX-License-Identifier: AGPL-3.0-only
#include "core/oracle.hpp"

#include <fnmatch.h>

#include <algorithm>
#include <utility>

namespace kmodguard::test {

Oracle::Oracle(const core::PolicySource& policy, core::ModuleIndex& index, std::string token)
    : policy_(policy), index_(index), token_(std::move(token)) {}

template <typename Take>
Names Oracle::closure(const std::string& module, const Take& take) {
    Names found = hard(module);
    found.insert(module);
    for (bool grows = true; grows;) {
        grows = false;
        for (const std::string& name : Names(found)) {
            const core::ModuleRecord* record = index_.find(name);
            if (record == nullptr) continue;
            for (const auto* wanted : {&record->soft_before, &record->soft_after}) {
                for (const std::string& soft : *wanted) {
                    if (!take(soft)) continue;
                    grows = found.insert(soft).second || grows;
                    for (const std::string& needed : hard(soft))
                        grows = found.insert(needed).second || grows;
                }
            }
        }
    }
    std::erase_if(found, [this](const std::string& name) {
        const core::ModuleRecord* record = index_.find(name);
        return record != nullptr && record->built_in;
    });
    return found;
}

Oracle::Opinion Oracle::on(const std::string& module) {
    Opinion opinion;
    opinion.required = hard(module);
    opinion.required.insert(module);
    opinion.reasons = reasons_on(module);
    opinion.allowed = core::verdict_of(*opinion.reasons.begin()) == core::Verdict::allow;
    const core::ModuleRecord* record = index_.find(module);
    const bool exists = record != nullptr && !record->built_in && !is_hidden(*record);
    const bool audit = policy_.mode == core::Mode::audit;
    opinion.loads = exists && (audit || opinion.allowed);
    opinion.chain = audit ? everything(module) : what_is_wanted(module);
    return opinion;
}

Oracle::Opinion Oracle::on_image(const core::ImageFacts& facts) {
    Opinion opinion;
    const std::string module = folded(facts.name, false);
    opinion.reasons = {image_reason(module, facts, opinion.because_of)};
    opinion.allowed = core::verdict_of(*opinion.reasons.begin()) == core::Verdict::allow;
    opinion.loads = opinion.allowed || policy_.mode == core::Mode::audit;
    return opinion;
}

Names Oracle::everything(const std::string& module) {
    return closure(module, [](const std::string&) { return true; });
}

std::set<core::Reason> Oracle::reasons_on(const std::string& module) {
    using enum core::Reason;
    const core::ModuleRecord* record = index_.find(module);
    if (record == nullptr) return {no_such_module};
    std::set<core::Reason> reasons;
    if (matches_any(policy_.deny_aliases, token_)) reasons.insert(denied_token);
    if (lists(policy_.deny_modules, module)) reasons.insert(denied_module);
    if (is_denied_by_alias(module)) reasons.insert(denied_alias);
    if (hides_its_aliases(module)) reasons.insert(unreadable_image);
    if (!reasons.empty()) return reasons;
    if (record->built_in) return {built_in};
    if (is_hidden(*record)) return {blacklisted};
    if (lists(policy_.allow_modules, module)) reasons.insert(listed);
    if (matches_any(policy_.allow_aliases, token_)) reasons.insert(alias_listed);
    if (reasons.empty()) return {not_listed};
    for (const std::string& name : everything(module))
        if (is_denied_where_brought(name)) return {denied_dependency};
    std::set<core::Reason> faults;
    for (const std::string& name : what_is_wanted(module))
        if (const auto fault = fault_of(name, module); fault != listed) faults.insert(fault);
    return faults.empty() ? reasons : faults;
}

core::Reason Oracle::image_reason(const std::string& module, const core::ImageFacts& facts,
                                  std::string& because_of) {
    using enum core::Reason;
    if (!facts.problem.empty()) return unreadable_image;
    if (!facts.modinfo_name.empty() && folded(facts.modinfo_name, false) != module)
        return contradictory_image;
    if (!has_pinned_content(module, facts)) return pin_mismatch;
    if (lists(policy_.deny_modules, module)) return denied_module;
    if (matches_any(policy_.deny_aliases, module)) return denied_alias;
    const bool speaks_for_itself = facts.aliases && index_.find(module) == nullptr;
    if (!speaks_for_itself && hides_its_aliases(module)) return unreadable_image;
    const auto denied = [this](const std::string& alias) {
        return names_or_covers(policy_.deny_aliases, alias);
    };
    const auto* known = index_.aliases(module);
    const std::vector<std::string> own = known != nullptr ? *known : std::vector<std::string>{};
    if (std::ranges::any_of(speaks_for_itself ? *facts.aliases : own, denied)) return denied_alias;
    if (lists(policy_.allow_modules, module)) return listed;
    if (index_.find(module) == nullptr && !policy_.deny_aliases.empty()) return not_listed;
    if (admitted_by_alias().contains(module)) return alias_listed;
    because_of = bringer_of(module);
    return because_of.empty() ? not_listed : dependency;
}

Names Oracle::admitted_by_alias() {
    Names admitted;
    index_.for_each_alias([&](std::string_view alias, std::string_view name) {
        const core::ModuleRecord* record = index_.find(name);
        if (record != nullptr && !record->built_in && names_or_covers(policy_.allow_aliases, alias))
            admitted.emplace(name);
    });
    return admitted;
}

std::string Oracle::bringer_of(const std::string& module) {
    if (!policy_.dependencies) return {};
    std::vector<std::string> bringers;
    for (const auto& entry : policy_.allow_modules)
        bringers.push_back(entry.text);
    const Names by_alias = admitted_by_alias();
    bringers.insert(bringers.end(), by_alias.begin(), by_alias.end());
    for (const std::string& bringer : bringers) {
        Names brought = everything(bringer);
        if (!brought.contains(module) || is_denied(bringer)) continue;
        brought.insert(bringer); // built in ones are left out
        if (std::ranges::none_of(brought, [this](const auto& name) { return is_denied_where_brought(name); }))
            return bringer;
    }
    return {};
}

Names Oracle::what_is_wanted(const std::string& module) {
    Names all = everything(module);
    const auto installs = [this](const std::string& name) {
        const core::ModuleRecord* record = index_.find(name);
        return record != nullptr && record->install_command;
    };
    if (std::ranges::none_of(all, installs)) return what_is_fit(module);
    const Names needed = hard(module);
    std::erase_if(all, [&](const std::string& name) {
        return index_.find(name) == nullptr && name != module && !needed.contains(name);
    });
    return all;
}

Names Oracle::what_is_fit(const std::string& module) {
    return closure(module, [this, &module](const std::string& wanted) {
        Names brought = hard(wanted);
        brought.insert(wanted);
        return std::ranges::all_of(brought, [this, &module](const std::string& name) {
            const core::ModuleRecord* record = index_.find(name);
            return (record != nullptr && record->built_in) || fault_of(name, module) == core::Reason::listed;
        });
    });
}

core::Reason Oracle::fault_of(const std::string& name, const std::string& module) {
    using enum core::Reason;
    const core::ModuleRecord* record = index_.find(name);
    if (record == nullptr) return missing_dependency;
    if (name != module && !policy_.dependencies && !lists(policy_.allow_modules, name))
        return unlisted_dependency;
    const core::ImageFacts facts = index_.image(*record, true);
    if (!facts.problem.empty()) return unreadable_image;
    if (folded(facts.name, false) != name) return contradictory_image;
    if (!facts.modinfo_name.empty() && folded(facts.modinfo_name, false) != name) return contradictory_image;
    return has_pinned_content(name, facts) ? listed : pin_mismatch;
}

bool Oracle::has_pinned_content(const std::string& name, const core::ImageFacts& facts) const {
    bool pinned = false;
    for (const auto& pin : policy_.pins) {
        if (pin.module != name) continue;
        if (facts.sha256 == pin.sha256) return true;
        pinned = true;
    }
    return !pinned;
}

Names Oracle::hard(const std::string& module) {
    const core::ModuleRecord* record = index_.find(module);
    return record == nullptr ? Names{} : Names(record->dependencies.begin(), record->dependencies.end());
}

bool Oracle::is_hidden(const core::ModuleRecord& record) const {
    return record.blacklisted && folded(token_, false) != record.name;
}

bool Oracle::is_denied(const std::string& module) {
    return lists(policy_.deny_modules, module) || is_denied_by_alias(module) || hides_its_aliases(module);
}

bool Oracle::is_denied_where_brought(const std::string& module) {
    if (index_.find(module) != nullptr) return is_denied(module);
    return lists(policy_.deny_modules, module) || matches_any(policy_.deny_aliases, module);
}

bool Oracle::is_denied_by_alias(const std::string& module) {
    const auto* aliases = index_.aliases(module);
    return matches_any(policy_.deny_aliases, module)
           || (aliases != nullptr && std::ranges::any_of(*aliases, [this](const std::string& alias) {
                   return names_or_covers(policy_.deny_aliases, alias);
               }));
}

bool Oracle::hides_its_aliases(const std::string& module) {
    return !policy_.deny_aliases.empty() && index_.aliases(module) == nullptr;
}

bool Oracle::names_or_covers(const std::vector<core::PolicySource::Entry>& patterns, std::string_view alias) {
    return matches_any(patterns, folded(alias, true))
           || std::ranges::any_of(patterns, [alias](const auto& pattern) {
                  return folded(pattern.text, true) == folded(alias, true);
              });
}

bool Oracle::lists(const std::vector<core::PolicySource::Entry>& entries, const std::string& module) {
    return std::ranges::any_of(entries, [&module](const auto& entry) { return entry.text == module; });
}

bool Oracle::matches_any(const std::vector<core::PolicySource::Entry>& patterns, const std::string& text) {
    return std::ranges::any_of(patterns, [&text](const auto& pattern) {
        return ::fnmatch(folded(pattern.text, true).c_str(), folded(text, false).c_str(), 0) == 0;
    });
}

std::string Oracle::folded(std::string_view text, bool is_pattern) {
    std::string result;
    bool in_brackets = false;
    for (const char c : text) {
        in_brackets = c == '[' || (in_brackets && c != ']');
        result += c == '-' && !(is_pattern && in_brackets) ? '_' : c;
    }
    return result;
}

std::string objection(const core::PolicySource& policy, core::ModuleIndex& index,
                      const core::ImageFacts& facts, const core::Decision& decision) {
    if (decision.modules.size() != 1) return "not one module";
    const core::ModuleDecision& module = decision.modules[0];
    const Oracle::Opinion opinion = Oracle(policy, index, "").on_image(facts);
    if (!opinion.reasons.contains(module.reason)) return "not the reason: " + core::explain(decision);
    if ((module.verdict() == core::Verdict::allow) != opinion.allowed)
        return "verdict: " + core::explain(decision);
    if (module.because_of != opinion.because_of)
        return "because of " + opinion.because_of + ": " + core::explain(decision);
    if (decision.loads(module) != opinion.loads) return "loads: " + core::explain(decision);
    if (decision.judged != module.verdict() || decision.reason != module.reason)
        return "verdict on the whole";
    return {};
}

std::string objection(const core::PolicySource& policy, core::ModuleIndex& index,
                      const core::Decision& decision) {
    Oracle oracle(policy, index, decision.token);
    bool any_allowed = false; // what is built in counts only if nothing was refused
    bool all_allowed = !decision.modules.empty();
    for (const core::ModuleDecision& module : decision.modules) {
        const Oracle::Opinion opinion = oracle.on(module.module);
        if (!opinion.reasons.contains(module.reason)) return "not the reason: " + core::explain(module);
        if ((module.verdict() == core::Verdict::allow) != opinion.allowed)
            return "verdict: " + core::explain(module);
        any_allowed = any_allowed || (opinion.allowed && module.reason != core::Reason::built_in);
        all_allowed = all_allowed && opinion.allowed;
        if (decision.loads(module) != opinion.loads) return "loads: " + core::explain(module);
        if (!opinion.loads) continue;
        Names loaded;
        for (const core::Step& step : module.chain) {
            if (!loaded.insert(step.module).second) return step.module + " twice";
            if (step.required != opinion.required.contains(step.module))
                return step.module + " required or not";
            const core::ModuleRecord* record = index.find(step.module);
            if (record == nullptr) continue;
            for (const std::string& needed : record->dependencies) {
                const core::ModuleRecord* other = index.find(needed);
                if (other == nullptr && !step.required) continue; // passed over, see what_is_wanted
                if ((other == nullptr || !other->built_in) && !loaded.contains(needed))
                    return step.module + " before " + needed;
            }
        }
        if (loaded != opinion.chain) return "chain of " + core::explain(module);
    }
    if ((decision.judged == core::Verdict::allow) != (any_allowed || all_allowed))
        return "verdict on the whole";
    if (core::verdict_of(decision.reason) != decision.judged) return "reason on the whole";
    return {};
}

} // namespace kmodguard::test
