// SPDX-License-Identifier: AGPL-3.0-only
#include "core/loaded.hpp"

#include "core/names.hpp"

#include <algorithm>
#include <functional>
#include <set>
#include <string_view>
#include <tuple>
#include <utility>

namespace kmodguard::core {
namespace {

/// What deny rules say of many modules. To ask for a module's own aliases decompresses its file, which for
/// all that is loaded takes seconds: most are in the index, which is read once.
class Denials {
  public:
    Denials(const Policy& policy, ModuleIndex& index) : policy_(policy), index_(index) {
        complete_ = !policy.has_deny_aliases()
                    || index.for_each_alias([this](std::string_view alias, std::string_view module) {
                           if (policy_.has_pattern_denying(alias)) by_alias_.emplace(module);
                       });
    }

    /// False: some rule may, and which one has to be looked up.
    [[nodiscard]] bool rule_out(const std::string& module) const {
        if (policy_.denies_module(module) || policy_.denies_token(module)) return false;
        if (!policy_.has_deny_aliases()) return true;
        return complete_ && index_.has_indexed_aliases(module) && !by_alias_.contains(module);
    }

  private:
    const Policy& policy_;
    ModuleIndex& index_;
    std::set<std::string, std::less<>> by_alias_; ///< modules with an alias that is denied
    bool complete_ = false;
};

ModuleDecision unlisted(const Policy& policy, const std::string& module) {
    ModuleDecision decision;
    decision.module = module;
    decision.reason = policy.source().valid ? Reason::not_listed : Reason::no_policy;
    return decision;
}

} // namespace

std::vector<ModuleDecision> not_admitted(const Policy& policy, ModuleIndex& index,
                                         const Admissions& admissions,
                                         const std::vector<std::string>& loaded) {
    std::vector<ModuleDecision> found;
    const Denials denials(policy, index);
    for (const std::string& name : loaded) {
        const std::string module = fold(name);
        if (admissions.find(module) != nullptr) continue;
        if (index.find(module) != nullptr && denials.rule_out(module)) {
            found.push_back(unlisted(policy, module));
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

bool is_denied(const ModuleDecision& loaded) {
    return loaded.rule.has_value();
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
    if (module.reason != Reason::not_listed && module.reason != Reason::no_policy) return false;
    module.reason = Reason::already_loaded;
    module.loadable = false;
    module.chain.clear();
    decision.judged = Verdict::allow;
    decision.reason = module.reason;
    return true;
}

} // namespace kmodguard::core
