// SPDX-License-Identifier: AGPL-3.0-only
//
// Modules are admitted in three rounds, so that the stronger reason is there first and stays. The modules of
// the first two rounds are the roots of the third.
#include "core/admission.hpp"

#include "core/denial.hpp"
#include "core/names.hpp"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <set>
#include <tuple>
#include <unordered_map>
#include <utility>

namespace kmodguard::core {
namespace {

/// What deny rules say of many modules, each looked up once. To ask for a module's own aliases decompresses
/// its file, which for the thousands that "*" admits takes many seconds: what the index has is read there.
class DeniedModules {
  public:
    DeniedModules(const Policy& policy, ModuleIndex& index) : policy_(policy), index_(index) {}

    /// Reads all aliases of the index, which `visit` is shown as well.
    void read_aliases(const AliasVisitor& visit = [](std::string_view, std::string_view) {}) {
        complete_ = index_.for_each_alias([&](std::string_view alias, std::string_view module) {
            if (policy_.has_pattern_denying(alias)) by_alias_.emplace(module);
            visit(alias, module);
        });
    }

    bool contains(const std::string& module) {
        const auto [known, is_new] = known_.try_emplace(module);
        if (is_new) known->second = find(module);
        return known->second;
    }

  private:
    bool find(const std::string& module) {
        if (!policy_.has_deny_aliases() || !complete_ || !index_.has_indexed_aliases(module))
            return module_denial(policy_, index_, module).has_value();
        return policy_.denies_module(module) || policy_.denies_token(module) || by_alias_.contains(module);
    }

    const Policy& policy_;
    ModuleIndex& index_;
    bool complete_ = false;                       ///< all aliases that the index has were read
    std::set<std::string, std::less<>> by_alias_; ///< have an alias in the index that is denied
    std::unordered_map<std::string, bool> known_;
};

class Admitter {
  public:
    Admitter(const Policy& policy, ModuleIndex& index)
        : policy_(policy), index_(index), denied_(policy, index) {
        if (policy_.has_allow_aliases() || policy_.has_deny_aliases())
            denied_.read_aliases(
                [this](std::string_view alias, std::string_view module) { note_pattern(alias, module); });
        for (const PolicySource::Entry& entry : policy_.source().allow_modules)
            admit(entry.text, {Reason::listed, policy_.allows_module(entry.text), {}});
        admit_by_aliases();
        if (policy_.dependencies()) admit_dependencies();
    }

    Admissions::ByName take() { return std::move(admitted_); }

  private:
    void note_pattern(std::string_view alias, std::string_view module) {
        const auto number = policy_.pattern_allowing(alias);
        if (!number) return;
        if (const auto known = allowed_by_alias_.find(module); known != allowed_by_alias_.end())
            known->second = std::min(known->second, *number);
        else
            allowed_by_alias_.emplace(module, *number);
    }

    void admit_by_aliases() {
        for (const auto& [module, number] : allowed_by_alias_) {
            const ModuleRecord* record = index_.find(module);
            if (record == nullptr || record->built_in) continue;
            const PolicySource::Entry& pattern = policy_.source().allow_aliases[number];
            admit(module, {Reason::alias_listed,
                           policy_.rule(RuleKind::allow_alias, pattern.text, pattern.origin),
                           {}});
        }
    }

    /// All that an admitted module pulls in as dependencies, unless something of it is denied: then it does
    /// not load. What does not exist is not brought, and not admitted if it may be denied.
    void admit_dependencies() {
        const auto is_denied = [this](const Step& step) {
            return index_.find(step.module) == nullptr
                       ? dependency_denial(policy_, index_, step.module).has_value()
                       : denied_.contains(step.module);
        };
        for (const std::string& root : roots_) {
            const std::vector<Step> chain = load_order(index_, root);
            if (std::ranges::any_of(chain, is_denied)) continue;
            for (const Step& step : chain)
                if (!denied_.contains(step.module))
                    admitted_.try_emplace(step.module, Reason::dependency, std::nullopt, root);
        }
    }

    void admit(const std::string& module, Admission&& admission) {
        if (denied_.contains(module)) return;
        if (admitted_.try_emplace(module, std::move(admission)).second) roots_.push_back(module);
    }

    const Policy& policy_;
    ModuleIndex& index_;
    DeniedModules denied_;
    Admissions::ByName admitted_;
    std::vector<std::string> roots_; ///< admitted for themselves
    /// The modules that have an alias which a pattern admits, and the number of the first such pattern.
    std::map<std::string, std::uint32_t, std::less<>> allowed_by_alias_;
};

} // namespace

Admissions::Admissions(const Policy& policy, ModuleIndex& index)
    : admitted_(Admitter(policy, index).take()) {}

const Admission* Admissions::find(std::string_view module) const {
    const auto found = admitted_.find(module);
    return found == admitted_.end() ? nullptr : &found->second;
}

template <typename Stays>
std::vector<std::string> Admissions::keep_where(Stays stays) {
    std::vector<std::string> taken;
    std::erase_if(admitted_, [&](const auto& entry) {
        if (stays(entry.first)) return false;
        taken.push_back(entry.first);
        return true;
    });
    return taken;
}

std::vector<std::string> Admissions::keep_only(const Admissions& other) {
    return keep_where([&](const std::string& module) { return other.find(module) != nullptr; });
}

std::vector<std::string> Admissions::take_away(const std::set<std::string, std::less<>>& modules) {
    return keep_where([&](const std::string& module) { return !modules.contains(module); });
}

void note_images(Decision& decision, const Admissions& admissions) {
    for (ModuleDecision& module : decision.modules)
        if (const Admission* admission = admissions.find(module.module); admission && module.is_unlisted())
            module.as_image = Admission{admission->reason, std::nullopt, admission->because_of};
}

std::vector<ModuleDecision> not_admitted(const Policy& policy, ModuleIndex& index,
                                         const Admissions& admissions,
                                         const std::vector<std::string>& loaded) {
    std::vector<ModuleDecision> found;
    DeniedModules denied(policy, index);
    if (policy.has_deny_aliases()) denied.read_aliases();
    for (const std::string& name : loaded) {
        const std::string module = fold(name);
        if (admissions.find(module) != nullptr) continue;
        if (index.find(module) != nullptr && !denied.contains(module)) {
            ModuleDecision& unlisted = found.emplace_back();
            unlisted.module = module;
            unlisted.reason = reason_without_rule(policy);
            continue;
        }
        ImageFacts facts{.problem = {}, .name = module, .modinfo_name = module};
        if (const auto pins = policy.pins(module); !pins.empty()) facts.sha256 = pins.front().sha256;
        Decision decision = decide_image(policy, index, admissions, facts);
        ModuleDecision& judged = decision.modules.front();
        if (judged.verdict() == Verdict::refuse) found.push_back(std::move(judged));
    }
    std::ranges::sort(found, {}, [](const ModuleDecision& module) {
        return std::tuple{!is_denied(module), std::string_view(module.module)};
    });
    return found;
}

std::string explain_loaded(const std::vector<ModuleDecision>& not_admitted) {
    if (not_admitted.empty()) return "";
    std::vector<std::string> names;
    for (const ModuleDecision& module : not_admitted)
        names.push_back(printable(module.module) + (is_denied(module) ? " (denied)" : ""));
    const std::string what =
        names.size() == 1 ? "a loaded module would not be admitted, and stays until it is unloaded: "
                          : std::to_string(names.size())
                                + " loaded modules would not be admitted, and stay until they are unloaded: ";
    return what + first_of(names);
}

bool take_for_loaded(Decision& decision) {
    if (decision.effective() == Verdict::allow || decision.modules.size() != 1) return false;
    ModuleDecision& module = decision.modules.front();
    if (!module.is_unlisted()) return false;
    module.reason = Reason::already_loaded;
    module.loadable = false;
    module.chain.clear();
    decision.judged = Verdict::allow;
    decision.reason = module.reason;
    return true;
}

} // namespace kmodguard::core
