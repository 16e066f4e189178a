// SPDX-License-Identifier: AGPL-3.0-only
#include "core/decision.hpp"

#include "core/admission.hpp"
#include "core/denial.hpp"
#include "core/hindrance.hpp"
#include "core/names.hpp"

#include <algorithm>
#include <utility>

namespace kmodguard::core {
namespace {

/// The first pin of `module`, as the rule that refused other content.
std::optional<Rule> pin_rule(const Policy& policy, const std::string& module) {
    const auto pins = policy.pins(module);
    if (pins.empty()) return std::nullopt;
    return policy.rule(RuleKind::pin, pins.front().module, pins.front().origin);
}

/// Why what no rule allows is refused.
Reason not_allowed(const Policy& policy) {
    return policy.source().valid ? Reason::not_listed : Reason::no_policy;
}

/// Judges one module at a time for one request.
class Decider {
  public:
    Decider(const Policy& policy, ModuleIndex& index, std::string_view token)
        : policy_(policy), index_(index), asked_(token), token_(fold(token)),
          token_allowed_(policy.allows_token(token)), token_denied_(policy.denies_token(token)) {}

    ModuleDecision judge(const std::string& name) {
        ModuleDecision decision;
        decision.module = name;
        const ModuleRecord* record = index_.find(name);
        asked_record_ = record == nullptr ? std::nullopt : index_.asked_for(*record, asked_);
        const bool hidden = record != nullptr && record->blacklisted && token_ != name;
        decision.built_in = record != nullptr && record->built_in;
        if (record != nullptr) decision.file = record->path;
        decision.loadable = record != nullptr && !record->built_in && !hidden;
        looked_inside_ = false;
        decision = by_rules(std::move(decision), record);
        decision.looked_inside = looked_inside_;
        // Audit mode leaves nothing out: it loads what would load without a guard.
        const bool audit = policy_.mode() == Mode::audit;
        if (audit && decision.loadable) decision.chain = load_order(index_, name);
        if (decision.loadable && (audit || decision.verdict() == Verdict::allow))
            add_hindrances(decision, index_);
        return decision;
    }

    [[nodiscard]] const std::optional<Rule>& token_denied() const { return token_denied_; }

  private:
    ModuleDecision by_rules(ModuleDecision decision, const ModuleRecord* record) {
        const std::string& name = decision.module;
        if (record == nullptr) {
            if (index_.is_configured_alias(asked_))
                decision.detail = "modprobe.d makes " + std::string(asked_) + " an alias of it";
            return refused(std::move(decision), Reason::no_such_module);
        }
        if (auto denial = denial_of(name)) {
            decision.rule = std::move(denial->rule);
            decision.detail = std::move(denial->detail);
            return refused(std::move(decision), denial->reason);
        }
        if (record->built_in) return refused(std::move(decision), Reason::built_in);
        if (!decision.loadable) return refused(std::move(decision), Reason::blacklisted);
        if (auto listed = listing_of(*record)) {
            decision.reason = Reason::listed;
            decision.rule = std::move(listed);
        } else if (token_allowed_) {
            decision.reason = Reason::alias_listed;
            decision.rule = token_allowed_;
        } else {
            if (record->command_only)
                decision.detail = "it is not a module, but has an install command in modprobe.d";
            if (is_named_inside(*record)) {
                const ImageFacts facts = index_.image(*record, false);
                decision.detail = facts.problem;
                if (!facts.problem.empty()) return refused(std::move(decision), Reason::unreadable_image);
            }
            return refused(std::move(decision), not_allowed(policy_));
        }
        return with_dependencies(std::move(decision));
    }

    static ModuleDecision refused(ModuleDecision decision, Reason reason) {
        decision.reason = reason;
        return decision;
    }

    /// The deny rule that matches the token, or `module`, or the name in its image.
    std::optional<Denial> denial_of(const std::string& module) {
        if (token_denied_) return Denial{Reason::denied_token, token_denied_, {}};
        auto denial = core::denial_of(policy_, index_, module);
        if (denial) return denial;
        const ModuleRecord* record = index_.find(module);
        const std::string inside = record == nullptr ? "" : name_inside(*record);
        return inside.empty() ? std::nullopt : core::denial_of(policy_, index_, inside);
    }

    /// The rule that lists the module by its own name, or by that in its image.
    std::optional<Rule> listing_of(const ModuleRecord& record) {
        if (auto rule = policy_.allows_module(record.name)) return rule;
        const std::string inside = name_inside(record);
        return inside.empty() ? std::nullopt : policy_.allows_module(inside);
    }

    /// The name by which the kernel knows a module whose file has another, as packages of DKMS have them: an
    /// install line gives modprobe the file's name. Empty for all other modules.
    std::string name_inside(const ModuleRecord& record) {
        if (!is_named_inside(record)) return {};
        looked_inside_ = true;
        const ImageFacts facts = index_.image(record, false);
        return facts.problem.empty() && fold(facts.name) != record.name ? fold(facts.name) : std::string();
    }

    static bool is_named_inside(const ModuleRecord& record) {
        return record.named_by_command && !record.built_in && !record.command_only;
    }

    /// Judges what an allowed module would pull in as dependencies. Hard dependencies refuse it, soft ones
    /// are left out, but a denied one refuses it in either case.
    ModuleDecision with_dependencies(ModuleDecision decision) {
        decision.chain = load_order(index_, decision.module);
        for (const Step& step : decision.chain) {
            if (step.module == decision.module) continue;
            if (auto denial = denial_of_brought(policy_, index_, step.module)) {
                decision.rule = std::move(denial->rule);
                return because_of(std::move(decision), Reason::denied_dependency, step.module);
            }
        }
        // Leaving a soft dependency out also leaves out what only it would have brought, so the order is made
        // again until nothing more has to go.
        while (true) {
            const auto [offender, reason] = first_unfit(decision);
            if (offender.module.empty()) return decision;
            if (offender.required) return because_of(std::move(decision), reason, offender.module);
            if (keeps_soft_dependencies(decision.chain)) {
                // modprobe passes over one that does not exist, and tries all others.
                if (reason != Reason::missing_dependency)
                    return because_of(std::move(decision), reason, offender.module);
                forget(decision, offender.module);
                continue;
            }
            omit(decision, offender.module);
            // Only in an index whose lists are not closed, or give dependencies to built-in modules.
            if (std::ranges::find(decision.chain, offender.module, &Step::module) != decision.chain.end())
                return because_of(std::move(decision), reason, offender.module);
            decision.detail.clear();
        }
    }

    ModuleDecision because_of(ModuleDecision decision, Reason reason, const std::string& module) {
        if (reason != Reason::denied_dependency) decision.rule.reset();
        if (reason == Reason::pin_mismatch) decision.rule = pin_rule(policy_, module);
        if (module != decision.module) decision.because_of = module;
        return refused(std::move(decision), reason);
    }

    /// modprobe brings all soft dependencies of what it loads.
    bool keeps_soft_dependencies(const std::vector<Step>& chain) {
        return std::ranges::any_of(chain, [this](const Step& step) {
            const ModuleRecord* record = index_.find(step.module);
            return record != nullptr && needs_modprobe(*record);
        });
    }

    /// The first step that cannot be taken, and why; an empty one if all can. Notes the states of the images.
    std::pair<Step, Reason> first_unfit(ModuleDecision& decision) {
        for (Step& step : decision.chain) {
            const ModuleRecord* record = index_.find(step.module);
            if (record == nullptr) return {step, Reason::missing_dependency};
            const bool dependency = step.module != decision.module;
            if (dependency && !policy_.dependencies() && !listing_of(*record))
                return {step, Reason::unlisted_dependency};
            if (record->command_only) continue; // no image to judge
            if (!step.by_command && needs_modprobe(*record)
                && index_.resolve(step.module) != std::vector{step.module})
                return {step, Reason::shadowed_name};
            if (const Reason reason = judge_image(*record, step, decision.detail);
                verdict_of(reason) == Verdict::refuse)
                return {step, reason};
        }
        return {};
    }

    [[nodiscard]] bool needs_modprobe(const ModuleRecord& record) const {
        const bool is_asked = asked_record_ && asked_record_->name == record.name;
        return record.install_command || (is_asked ? asked_record_->by_modprobe : record.by_modprobe);
    }

    /// Leaves out `offender` and every soft dependency that needs it; depmod's lists of hard dependencies are
    /// closed, so nothing can bring it back.
    void omit(ModuleDecision& decision, const std::string& offender) {
        decision.omitted.push_back(offender);
        for (const Step& step : decision.chain) {
            const ModuleRecord* record = index_.find(step.module);
            if (step.required || record == nullptr) continue;
            if (std::ranges::find(record->dependencies, offender) != record->dependencies.end())
                decision.omitted.push_back(step.module);
        }
        decision.chain = load_order(index_, decision.module, decision.omitted);
    }

    /// Leaves out `missing` alone, and nothing that needs it.
    static void forget(ModuleDecision& decision, const std::string& missing) {
        decision.omitted.push_back(missing);
        std::erase_if(decision.chain, [&missing](const Step& step) { return step.module == missing; });
    }

    Reason judge_image(const ModuleRecord& record, Step& step, std::string& detail);

    const Policy& policy_;
    ModuleIndex& index_;
    std::string_view asked_; ///< as it was asked for
    std::string token_;      ///< folded
    std::optional<ModuleRecord>
        asked_record_; ///< of the module that is judged, where the token makes it another
    std::optional<Rule> token_allowed_;
    std::optional<Rule> token_denied_;
    bool looked_inside_ = false; ///< of the module that is judged
};

/// Whether what an image says of itself makes it `module`, or whichever it says if `module` is empty.
Reason judge_facts(const Policy& policy, std::string_view module, const ImageFacts& facts,
                   std::string& detail) {
    if (!facts.problem.empty()) {
        detail = facts.problem;
        return Reason::unreadable_image;
    }
    const std::string name = fold(facts.name);
    const std::string modinfo = facts.modinfo_name.empty() ? name : fold(facts.modinfo_name);
    if (name != modinfo || (!module.empty() && name != module)) {
        detail = "the image calls itself " + printable(facts.name)
                 + (modinfo == name ? "" : " and " + printable(facts.modinfo_name));
        return Reason::contradictory_image;
    }
    const auto pins = policy.pins(name);
    const auto same = [&facts](const PolicySource::PinEntry& pin) { return facts.sha256 == pin.sha256; };
    if (!pins.empty() && std::ranges::none_of(pins, same)) {
        detail = facts.sha256 ? "sha256 " + to_hex(*facts.sha256) : "its content was not hashed";
        return Reason::pin_mismatch;
    }
    return Reason::listed;
}

Reason Decider::judge_image(const ModuleRecord& record, Step& step, std::string& detail) {
    const std::string inside = name_inside(record);
    const bool goes_by_it = !inside.empty() && policy_.allows_module(inside);
    const std::string& name = goes_by_it ? inside : record.name;
    ImageFacts facts = index_.image(record, !policy_.pins(name).empty());
    const Reason reason = judge_facts(policy_, name, facts, detail);
    step.judged = std::move(facts.state);
    return reason;
}

/// Judges an image by what it says of itself, then by its name.
ModuleDecision judge_image(const Policy& policy, ModuleIndex& index, const Admissions& admissions,
                           const ImageFacts& facts) {
    ModuleDecision decision;
    if (facts.no_module) {
        decision.reason = Reason::not_a_module;
        decision.detail = facts.problem;
        decision.loadable = false;
        return decision;
    }
    decision.module = fold(facts.name);
    decision.reason = judge_facts(policy, {}, facts, decision.detail);
    if (decision.reason == Reason::pin_mismatch) decision.rule = pin_rule(policy, decision.module);
    if (verdict_of(decision.reason) == Verdict::refuse) return decision;
    decision.chain = {{.module = decision.module, .required = true}};

    if (auto denial = denial_of_image(policy, index, decision.module, facts)) {
        decision.reason = denial->reason;
        decision.rule = std::move(denial->rule);
        decision.detail = std::move(denial->detail);
    } else if (const Admission* admission = admissions.find(decision.module)) {
        decision.reason = admission->reason;
        decision.rule = admission->rule;
        decision.because_of = admission->because_of;
        decision.kept_out = hindrance_of(facts, index.kernel_limits());
    } else if (auto listed = policy.allows_module(decision.module);
               listed && index.find(decision.module) == nullptr) {
        decision.reason = Reason::listed; // not among the admissions, which do not know what the image says
        decision.rule = std::move(listed);
        decision.kept_out = hindrance_of(facts, index.kernel_limits());
    } else {
        decision.reason = not_allowed(policy);
    }
    return decision;
}

/// How much a module's judgement says about the request as a whole: one that loads most, then one that a rule
/// refused, then any refusal; what is built in least.
int weight(const ModuleDecision& module) {
    if (module.reason == Reason::built_in) return 0;
    if (module.verdict() == Verdict::allow) return 3;
    return module.rule ? 2 : 1;
}

/// The verdict on the whole is that on the weightiest of its modules, of which there is one at least.
void conclude(Decision& decision) {
    const auto deciding = std::ranges::max_element(decision.modules, {}, weight);
    decision.judged = deciding->verdict();
    decision.reason = deciding->reason;
    decision.rule = deciding->rule;
}

/// `alias TOKEN off` of modprobe.d, which to modprobe is the name of a module that there is not.
bool is_off(ModuleIndex& index, std::string_view token, std::string_view module) {
    return module == "off" && index.find(module) == nullptr && index.is_configured_alias(token);
}

} // namespace

Decision decide_image(const Policy& policy, ModuleIndex& index, const Admissions& admissions,
                      const ImageFacts& facts) {
    Decision decision;
    decision.mode = policy.mode();
    decision.modules.push_back(judge_image(policy, index, admissions, facts));
    conclude(decision);
    return decision;
}

Decision decide_unload(const Policy& policy, std::string_view module) {
    Decision decision;
    decision.mode = policy.mode();
    ModuleDecision judged;
    judged.module = fold(module);
    judged.reason = policy.denies_unload() ? Reason::denied_unload : Reason::unload;
    decision.modules.push_back(std::move(judged));
    conclude(decision);
    return decision;
}

Decision decide(const Policy& policy, ModuleIndex& index, std::string_view token) {
    Decision decision;
    decision.token = token;
    decision.mode = policy.mode();
    if (!is_token(token)) {
        decision.reason = Reason::not_a_name;
        return decision;
    }
    Decider decider(policy, index, token);
    for (const std::string& module : index.resolve(token)) {
        if (is_off(index, token, module))
            decision.reason = Reason::switched_off;
        else
            decision.modules.push_back(decider.judge(module));
    }
    if (!decision.modules.empty()) {
        conclude(decision);
    } else if (decider.token_denied()) {
        decision.reason = Reason::denied_token;
        decision.rule = decider.token_denied();
    }
    return decision;
}

bool ImageAdmission::operator==(const ImageAdmission&) const = default;
bool ModuleDecision::operator==(const ModuleDecision&) const = default;
bool Decision::operator==(const Decision&) const = default;

bool KeptOut::operator==(const KeptOut&) const = default;
bool RunCommand::operator==(const RunCommand&) const = default;

bool Decision::loads(const ModuleDecision& module) const {
    return module.loadable && (mode == Mode::audit || module.verdict() == Verdict::allow);
}

bool Decision::will_load(const ModuleDecision& module) const {
    return loads(module) && module.reason != Reason::unload && !module.kept_out;
}

bool Decision::will_load() const {
    return std::ranges::any_of(modules, [this](const auto& module) { return will_load(module); });
}

bool Decision::blocks() const {
    const auto is_kept_out = [](const ModuleDecision& module) {
        return module.verdict() == Verdict::refuse && !module.built_in;
    };
    return effective() == Verdict::refuse && (modules.empty() || std::ranges::any_of(modules, is_kept_out));
}

Verdict Decision::effective() const {
    const bool any = std::ranges::any_of(modules, [this](const auto& module) { return loads(module); });
    return any ? Verdict::allow : judged;
}

} // namespace kmodguard::core
