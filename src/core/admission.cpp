// SPDX-License-Identifier: AGPL-3.0-only
//
// Modules are admitted in three rounds, so that the stronger reason is there first and stays. The modules of
// the first two rounds are the roots of the third.
#include "core/admission.hpp"

#include "core/denial.hpp"

#include <algorithm>
#include <cstdint>
#include <set>
#include <unordered_map>
#include <utility>
#include <vector>

namespace kmodguard::core {
namespace {

class Admitter {
  public:
    Admitter(const Policy& policy, ModuleIndex& index) : policy_(policy), index_(index) {
        if (policy_.has_allow_aliases() || policy_.has_deny_aliases()) read_aliases();
        admit_listed();
        admit_by_aliases();
        if (policy_.dependencies()) admit_dependencies();
    }

    Admissions::ByName take() { return std::move(admitted_); }

  private:
    void admit_listed() {
        for (const PolicySource::Entry& entry : policy_.source().allow_modules)
            admit(entry.text, {Reason::listed, policy_.allows_module(entry.text), {}});
    }

    void admit_by_aliases() {
        const auto& patterns = policy_.source().allow_aliases;
        for (const auto& [module, number] : allowed_by_alias_) {
            const ModuleRecord* record = index_.find(module);
            if (record == nullptr || record->built_in) continue;
            const PolicySource::Entry& pattern = patterns[number];
            admit(module, {Reason::alias_listed,
                           policy_.rule(RuleKind::allow_alias, pattern.text, pattern.origin),
                           {}});
        }
    }

    void read_aliases() {
        knows_aliases_ = index_.for_each_alias([this](std::string_view alias, std::string_view module) {
            if (policy_.has_pattern_denying(alias)) denied_by_alias_.emplace(module);
            const auto number = policy_.pattern_allowing(alias);
            if (!number) return;
            if (const auto known = allowed_by_alias_.find(module); known != allowed_by_alias_.end())
                known->second = std::min(known->second, *number);
            else
                allowed_by_alias_.emplace(module, *number);
        });
    }

    /// All that an admitted module pulls in as dependencies, unless something of it is denied: then it does
    /// not load. What does not exist is not brought, and not admitted if it may be denied.
    void admit_dependencies() {
        for (const std::string& root : roots_) {
            const std::vector<Step> chain = load_order(index_, root);
            const auto denied = [this](const Step& step) { return is_denied_where_brought(step.module); };
            if (std::ranges::any_of(chain, denied)) continue;
            for (const Step& step : chain)
                if (!is_denied(step.module))
                    admitted_.try_emplace(step.module, Reason::dependency, std::nullopt, root);
        }
    }

    void admit(const std::string& module, Admission&& admission) {
        if (is_denied(module)) return;
        if (admitted_.try_emplace(module, std::move(admission)).second) roots_.push_back(module);
    }

    /// Many modules bring the same ones, and asking for a module's own aliases decompresses its file, which
    /// for the thousands that "*" admits takes many seconds: what the index has is read there.
    bool is_denied(const std::string& module) {
        const auto [known, is_new] = denied_.try_emplace(module);
        if (is_new) known->second = find_denial(module);
        return known->second;
    }

    bool is_denied_where_brought(const std::string& module) {
        return index_.find(module) == nullptr ? denial_of_brought(policy_, index_, module).has_value()
                                              : is_denied(module);
    }

    bool find_denial(const std::string& module) {
        if (!policy_.has_deny_aliases() || !knows_aliases_ || !index_.has_indexed_aliases(module))
            return denial_of(policy_, index_, module).has_value();
        return policy_.denies_module(module) || policy_.denies_token(module)
               || denied_by_alias_.contains(module);
    }

    const Policy& policy_;
    ModuleIndex& index_;
    Admissions::ByName admitted_;
    std::vector<std::string> roots_; ///< admitted for themselves
    std::unordered_map<std::string, bool> denied_;
    /// The modules that have an alias which a pattern admits, and the number of the first such pattern.
    std::map<std::string, std::uint32_t, std::less<>> allowed_by_alias_;
    bool knows_aliases_ = false;                         ///< all that the index has
    std::set<std::string, std::less<>> denied_by_alias_; ///< have an alias in the index that is denied
};

} // namespace

Admissions::Admissions(const Policy& policy, ModuleIndex& index)
    : admitted_(Admitter(policy, index).take()) {}

const Admission* Admissions::find(std::string_view module) const {
    const auto found = admitted_.find(module);
    return found == admitted_.end() ? nullptr : &found->second;
}

std::vector<std::string> Admissions::keep_only(const Admissions& other) {
    std::vector<std::string> taken;
    std::erase_if(admitted_, [&](const auto& entry) {
        if (other.find(entry.first) != nullptr) return false;
        taken.push_back(entry.first);
        return true;
    });
    return taken;
}

void note_images(Decision& decision, const Admissions& admissions) {
    for (ModuleDecision& module : decision.modules) {
        if (module.reason != Reason::not_listed && module.reason != Reason::no_policy) continue;
        if (const Admission* admission = admissions.find(module.module))
            module.as_image = ImageAdmission{admission->reason, admission->because_of};
    }
}

} // namespace kmodguard::core
