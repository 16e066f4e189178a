// SPDX-License-Identifier: AGPL-3.0-only
//
// A second opinion on every decision, written from the text of the rules and not from the code under test:
// slow, plain, with lists and sets only. Where several things speak against a module it does not care which
// of them is named first, except that a denial of the module itself comes before all else.
#pragma once

#include "core/decision.hpp"

#include <fnmatch.h>

#include <algorithm>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace kmodguard::test {

using Names = std::set<std::string>;

class Oracle {
  public:
    Oracle(const core::PolicySource& policy, core::ModuleIndex& index, std::string token)
        : policy_(policy), index_(index), token_(std::move(token)) {}

    struct Opinion {
        std::set<core::Reason> reasons; ///< any of which may be given
        bool allowed = false;
        bool loads = false;
        Names chain;            ///< what is loaded if it loads
        Names required;         ///< those of them whose failure is fatal
        std::string because_of; ///< of an image admitted as a dependency
    };

    Opinion on(const std::string& module) {
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

    Opinion on_image(const core::ImageFacts& facts) {
        Opinion opinion;
        const std::string module = folded(facts.name, false);
        opinion.reasons = {image_reason(module, facts, opinion.because_of)};
        opinion.allowed = core::verdict_of(*opinion.reasons.begin()) == core::Verdict::allow;
        opinion.loads = opinion.allowed || policy_.mode == core::Mode::audit;
        return opinion;
    }

    /// What modprobe would load, in no order: all hard and soft dependencies of everything it comes by.
    Names everything(const std::string& module) {
        return closure(module, [](const std::string&) { return true; });
    }

  private:
    std::set<core::Reason> reasons_on(const std::string& module) {
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
            if (is_denied(name)) return {denied_dependency};
        std::set<core::Reason> faults;
        for (const std::string& name : what_is_wanted(module))
            if (const auto fault = fault_of(name, module); fault != listed) faults.insert(fault);
        return faults.empty() ? reasons : faults;
    }

    core::Reason image_reason(const std::string& module, const core::ImageFacts& facts,
                              std::string& because_of) {
        using enum core::Reason;
        if (!facts.problem.empty()) return unreadable_image;
        if (!facts.modinfo_name.empty() && folded(facts.modinfo_name, false) != module)
            return contradictory_image;
        if (!has_pinned_content(module, facts)) return pin_mismatch;
        if (lists(policy_.deny_modules, module)) return denied_module;
        if (hides_its_aliases(module)) return unreadable_image;
        if (is_denied_by_alias(module)) return denied_alias;
        if (lists(policy_.allow_modules, module)) return listed;
        if (admitted_by_alias().contains(module)) return alias_listed;
        because_of = bringer_of(module);
        return because_of.empty() ? not_listed : dependency;
    }

    /// The modules that may be loaded and that the index gives an alias which the policy allows.
    Names admitted_by_alias() {
        Names admitted;
        index_.for_each_alias([&](std::string_view alias, std::string_view name) {
            const core::ModuleRecord* record = index_.find(name);
            if (record != nullptr && !record->built_in && names_or_covers(policy_.allow_aliases, alias))
                admitted.emplace(name);
        });
        return admitted;
    }

    /// The first module admitted for itself that brings `module` and nothing denied; "" if none does.
    std::string bringer_of(const std::string& module) {
        if (!policy_.dependencies) return {};
        std::vector<std::string> bringers;
        for (const auto& entry : policy_.allow_modules)
            bringers.push_back(entry.text);
        const Names by_alias = admitted_by_alias();
        bringers.insert(bringers.end(), by_alias.begin(), by_alias.end());
        for (const std::string& bringer : bringers) {
            Names brought = everything(bringer);
            if (!brought.contains(module)) continue;
            brought.insert(bringer); // built in ones are left out
            if (std::ranges::none_of(brought, [this](const auto& name) { return is_denied(name); }))
                return bringer;
        }
        return {};
    }

    /// What of everything is to be loaded if the module is. Where modprobe runs, for an install command of
    /// any of them, it leaves out nothing but soft dependencies that do not exist.
    Names what_is_wanted(const std::string& module) {
        Names all = everything(module);
        const auto installs = [this](const std::string& name) {
            const core::ModuleRecord* record = index_.find(name);
            return record != nullptr && record->has_install_command;
        };
        if (std::ranges::none_of(all, installs)) return what_is_fit(module);
        const Names needed = hard(module);
        std::erase_if(all, [&](const std::string& name) {
            return index_.find(name) == nullptr && name != module && !needed.contains(name);
        });
        return all;
    }

    /// The module, what it needs, and of what it wants all that is fit, with what that needs and wants.
    Names what_is_fit(const std::string& module) {
        return closure(module, [this, &module](const std::string& wanted) {
            Names brought = hard(wanted);
            brought.insert(wanted);
            return std::ranges::all_of(brought, [this, &module](const std::string& name) {
                const core::ModuleRecord* record = index_.find(name);
                return (record != nullptr && record->built_in)
                       || fault_of(name, module) == core::Reason::listed;
            });
        });
    }

    template <typename Take>
    Names closure(const std::string& module, const Take& take) {
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

    /// What keeps `name` from loading along with `module`; `listed` if nothing does.
    core::Reason fault_of(const std::string& name, const std::string& module) {
        using enum core::Reason;
        const core::ModuleRecord* record = index_.find(name);
        if (record == nullptr) return missing_dependency;
        if (name != module && !policy_.dependencies && !lists(policy_.allow_modules, name))
            return unlisted_dependency;
        const core::ImageFacts facts = index_.image(*record, true);
        if (!facts.problem.empty()) return unreadable_image;
        if (folded(facts.name, false) != name) return contradictory_image;
        if (!facts.modinfo_name.empty() && folded(facts.modinfo_name, false) != name)
            return contradictory_image;
        return has_pinned_content(name, facts) ? listed : pin_mismatch;
    }

    bool has_pinned_content(const std::string& name, const core::ImageFacts& facts) const {
        bool pinned = false;
        for (const auto& pin : policy_.pins) {
            if (pin.module != name) continue;
            if (facts.sha256 == pin.sha256) return true;
            pinned = true;
        }
        return !pinned;
    }

    Names hard(const std::string& module) {
        const core::ModuleRecord* record = index_.find(module);
        return record == nullptr ? Names{} : Names(record->dependencies.begin(), record->dependencies.end());
    }

    bool is_hidden(const core::ModuleRecord& record) const {
        return record.blacklisted && folded(token_, false) != record.name;
    }

    bool is_denied(const std::string& module) {
        return lists(policy_.deny_modules, module) || is_denied_by_alias(module) || hides_its_aliases(module);
    }

    /// By its name, which the kernel may ask for it by, or by an alias of its own.
    bool is_denied_by_alias(const std::string& module) {
        const auto& aliases = index_.aliases(module);
        return matches_any(policy_.deny_aliases, module)
               || std::ranges::any_of(aliases, [this](const std::string& alias) {
                      return names_or_covers(policy_.deny_aliases, alias);
                  });
    }

    /// Whether it may have an alias that is denied.
    bool hides_its_aliases(const std::string& module) {
        return !policy_.deny_aliases.empty() && !index_.knows_aliases(module);
    }

    /// Whether one of `patterns` is the same text as the alias, or matches it.
    static bool names_or_covers(const std::vector<core::PolicySource::Entry>& patterns,
                                std::string_view alias) {
        return matches_any(patterns, folded(alias, true))
               || std::ranges::any_of(patterns, [alias](const auto& pattern) {
                      return folded(pattern.text, true) == folded(alias, true);
                  });
    }

    static bool lists(const std::vector<core::PolicySource::Entry>& entries, const std::string& module) {
        return std::ranges::any_of(entries, [&module](const auto& entry) { return entry.text == module; });
    }

    static bool matches_any(const std::vector<core::PolicySource::Entry>& patterns, const std::string& text) {
        return std::ranges::any_of(patterns, [&text](const auto& pattern) {
            return ::fnmatch(folded(pattern.text, true).c_str(), folded(text, false).c_str(), 0) == 0;
        });
    }

    static std::string folded(std::string_view text, bool is_pattern) {
        std::string result;
        bool in_brackets = false;
        for (const char c : text) {
            in_brackets = c == '[' || (in_brackets && c != ']');
            result += c == '-' && !(is_pattern && in_brackets) ? '_' : c;
        }
        return result;
    }

    const core::PolicySource& policy_;
    core::ModuleIndex& index_;
    std::string token_;
};

/// What differs between a decision on an image and the second opinion; empty if nothing.
inline std::string objection(const core::PolicySource& policy, core::ModuleIndex& index,
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

/// What differs between a decision and the second opinion, and which of the promises that hold for every
/// decision it breaks; empty if nothing.
inline std::string objection(const core::PolicySource& policy, core::ModuleIndex& index,
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
