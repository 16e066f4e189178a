// SPDX-License-Identifier: AGPL-3.0-only
#include "core/decision.hpp"

#include "core/admission.hpp"
#include "core/denial.hpp"
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

/// What is asked for, and what the rules say of the token alone.
struct Request {
    Request(const Policy& asked_policy, ModuleIndex& asked_index, std::string_view asked_token)
        : policy(asked_policy), index(asked_index), token(asked_token), folded(fold(token)),
          allowed(policy.allows_token(token)), denied(policy.denies_token(token)) {}

    const Policy& policy;
    ModuleIndex& index;
    std::string_view token;
    std::string folded;
    std::optional<Rule> allowed;
    std::optional<Rule> denied;
};

/// Judges one of the modules that a request is for.
class Decider {
  public:
    Decider(const Request& request, const std::string& name)
        : request_(request), policy_(request.policy), index_(request.index), record_(index_.find(name)) {
        decision_.module = name;
        decision_.loadable = false;
        if (record_ == nullptr) return;
        asked_record_ = index_.asked_for(*record_, request.token);
        const bool hidden = record_->blacklisted && request.folded != name;
        decision_.file = record_->path;
        decision_.built_in = record_->built_in;
        decision_.loadable = !record_->built_in && !hidden;
    }

    ModuleDecision judge() && {
        decision_.reason = by_rules();
        // Audit mode leaves nothing out: it loads what would load without a guard.
        const bool audit = policy_.mode() == Mode::audit;
        if (audit && decision_.loadable) decision_.chain = load_order(index_, decision_.module);
        if (decision_.loadable && (audit || decision_.verdict() == Verdict::allow))
            add_hindrances(decision_, index_);
        return std::move(decision_);
    }

  private:
    Reason by_rules() {
        if (record_ == nullptr) {
            if (index_.is_configured_alias(request_.token))
                decision_.detail = "modprobe.d makes " + std::string(request_.token) + " an alias of it";
            return Reason::no_such_module;
        }
        if (auto denial = find_denial()) {
            decision_.rule = std::move(denial->rule);
            decision_.detail = std::move(denial->detail);
            return denial->reason;
        }
        if (record_->built_in) return Reason::built_in;
        if (!decision_.loadable) return Reason::blacklisted;
        if (auto listed = listing_of(*record_)) {
            decision_.rule = std::move(listed);
            return with_dependencies(Reason::listed);
        }
        if (request_.allowed) {
            decision_.rule = request_.allowed;
            return with_dependencies(Reason::alias_listed);
        }
        if (record_->command_only)
            decision_.detail = "it is not a module, but has an install command in modprobe.d";
        if (is_named_inside(*record_)) {
            decision_.detail = index_.image(*record_, false).problem;
            if (!decision_.detail.empty()) return Reason::unreadable_image;
        }
        return reason_without_rule(policy_);
    }

    /// The deny rule that matches the token, or the module, or the name in its image.
    std::optional<Denial> find_denial() {
        if (request_.denied) return Denial{Reason::denied_token, request_.denied, {}};
        if (auto denial = indexed_denial(policy_, index_, decision_.module)) return denial;
        const std::string inside = name_inside(*record_);
        return inside.empty() ? std::nullopt : module_denial(policy_, index_, inside);
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
        decision_.looked_inside = true;
        const ImageFacts facts = index_.image(record, false);
        return facts.problem.empty() && fold(facts.name) != record.name ? fold(facts.name) : std::string();
    }

    static bool is_named_inside(const ModuleRecord& record) {
        return record.named_by_command && !record.built_in && !record.command_only;
    }

    /// Judges what the module, which is allowed for `reason`, would pull in as dependencies. Hard
    /// dependencies refuse it, soft ones are left out, but a denied one refuses it in either case.
    Reason with_dependencies(Reason reason) {
        if (auto denial = module_denial(policy_, index_, decision_.module)) {
            decision_.rule = std::move(denial->rule);
            decision_.detail = std::move(denial->detail);
            return denial->reason;
        }
        decision_.chain = load_order(index_, decision_.module);
        for (const Step& step : decision_.chain) {
            if (step.module == decision_.module) continue;
            if (auto denial = dependency_denial(policy_, index_, step.module)) {
                decision_.rule = std::move(denial->rule);
                decision_.because_of = step.module;
                return Reason::denied_dependency;
            }
        }
        // Leaving a soft dependency out also leaves out what only it would have brought, so the order is made
        // again until nothing more has to go.
        while (true) {
            const auto [offender, problem] = first_unfit();
            if (offender.module.empty()) return reason;
            if (offender.required) return refused_for(offender.module, problem);
            if (keeps_soft_dependencies()) {
                // modprobe passes over one that does not exist, and tries all others.
                if (problem != Reason::missing_dependency) return refused_for(offender.module, problem);
                forget(offender.module);
                continue;
            }
            omit(offender.module);
            // Only in an index whose lists are not closed, or give dependencies to built-in modules.
            if (std::ranges::find(decision_.chain, offender.module, &Step::module) != decision_.chain.end())
                return refused_for(offender.module, problem);
            decision_.detail.clear();
        }
    }

    /// Its own image, or a dependency that cannot be had, refuses the module.
    Reason refused_for(const std::string& module, Reason problem) {
        decision_.rule = problem == Reason::pin_mismatch ? pin_rule(policy_, module) : std::nullopt;
        if (module != decision_.module) decision_.because_of = module;
        return problem;
    }

    /// modprobe brings all soft dependencies of what it loads.
    bool keeps_soft_dependencies() {
        return std::ranges::any_of(decision_.chain, [this](const Step& step) {
            const ModuleRecord* record = index_.find(step.module);
            return record != nullptr && needs_modprobe(*record);
        });
    }

    /// The first step that cannot be taken, and why; an empty one if all can. Notes the states of the images.
    std::pair<Step, Reason> first_unfit() {
        for (Step& step : decision_.chain) {
            const ModuleRecord* record = index_.find(step.module);
            if (record == nullptr) return {step, Reason::missing_dependency};
            const bool dependency = step.module != decision_.module;
            if (dependency && !policy_.dependencies() && !listing_of(*record))
                return {step, Reason::unlisted_dependency};
            if (record->command_only) continue; // no image to judge
            if (!step.by_command && needs_modprobe(*record)
                && index_.resolve(step.module) != std::vector{step.module})
                return {step, Reason::shadowed_name};
            if (const Reason reason = judge_file(*record, step); verdict_of(reason) == Verdict::refuse)
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
    void omit(const std::string& offender) {
        decision_.omitted.push_back(offender);
        for (const Step& step : decision_.chain) {
            const ModuleRecord* record = index_.find(step.module);
            if (step.required || record == nullptr) continue;
            if (std::ranges::find(record->dependencies, offender) != record->dependencies.end())
                decision_.omitted.push_back(step.module);
        }
        decision_.chain = load_order(index_, decision_.module, decision_.omitted);
    }

    /// Leaves out `missing` alone, and nothing that needs it.
    void forget(const std::string& missing) {
        decision_.omitted.push_back(missing);
        std::erase_if(decision_.chain, [&missing](const Step& step) { return step.module == missing; });
    }

    Reason judge_file(const ModuleRecord& record, Step& step) {
        const std::string inside = name_inside(record);
        const bool goes_by_it = !inside.empty() && policy_.allows_module(inside);
        const std::string& name = goes_by_it ? inside : record.name;
        const ImageFacts facts = index_.image(record, !policy_.pins(name).empty());
        step.judged = facts.state;
        return judge_facts(policy_, name, facts, decision_.detail);
    }

    const Request& request_;
    const Policy& policy_;
    ModuleIndex& index_;
    const ModuleRecord* record_;               ///< nullptr: there is no such module
    std::optional<ModuleRecord> asked_record_; ///< where the token makes it another
    ModuleDecision decision_;
};

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

    if (auto denial = image_denial(policy, index, decision.module, facts)) {
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
        decision.reason = reason_without_rule(policy);
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
    const Request request(policy, index, token);
    for (const std::string& module : index.resolve(token)) {
        if (is_off(index, token, module))
            decision.reason = Reason::switched_off;
        else
            decision.modules.push_back(Decider(request, module).judge());
    }
    if (!decision.modules.empty()) {
        conclude(decision);
    } else if (request.denied) {
        decision.reason = Reason::denied_token;
        decision.rule = request.denied;
    }
    return decision;
}

Reason reason_without_rule(const Policy& policy) {
    return policy.source().valid ? Reason::not_listed : Reason::no_policy;
}

bool Admission::operator==(const Admission&) const = default;
bool KeptOut::operator==(const KeptOut&) const = default;
bool RunCommand::operator==(const RunCommand&) const = default;
bool ModuleDecision::operator==(const ModuleDecision&) const = default;
bool Decision::operator==(const Decision&) const = default;

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

bool Decision::is_lasting() const {
    const auto is_transient = [](const ModuleDecision& module) {
        return module.reason == Reason::unreadable_image || module.reason == Reason::contradictory_image
               || module.reason == Reason::pin_mismatch || !module.omitted.empty()
               || (module.looked_inside && module.verdict() == Verdict::refuse);
    };
    return reason != Reason::not_a_name && std::ranges::none_of(modules, is_transient);
}

Verdict Decision::effective() const {
    const bool any = std::ranges::any_of(modules, [this](const auto& module) { return loads(module); });
    return any ? Verdict::allow : judged;
}

} // namespace kmodguard::core
