// SPDX-License-Identifier: AGPL-3.0-only
//
// Whether tokens would load (check), and why or why not (explain): each module that answers to a token, its
// file, and who is named as its signer. Decided by the daemon, or by kmodctl itself.
#include "core/names.hpp"
#include "ctl/decide.hpp"
#include "ctl/verbs.hpp"
#include "events/event_json.hpp"
#include "modules/image.hpp"
#include "protocol/answers.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace kmodguard::ctl {
namespace {

constexpr std::size_t max_path = 4096; ///< shown whole

sys::Result<std::vector<core::Decision>> decide_in_daemon(const Context& context, const Words& tokens) {
    std::vector<core::Decision> decisions;
    for (const std::string& token : tokens) {
        if (!core::is_token(token)) { // no line of text: it cannot be sent, and names nothing
            core::Decision& decision = decisions.emplace_back();
            decision.token = token;
            decision.reason = core::Reason::not_a_name;
            continue;
        }
        const auto answer = TRY(context.ask("EXPLAIN", token));
        if (decisions.empty()) context.warn_as(answer);
        decisions.push_back(TRY(protocol::decision_of(answer.fields)));
    }
    return decisions;
}

/// What the daemon decides on each token; what is decided here if it does not run, or another policy or
/// kernel is asked for.
sys::Result<std::vector<core::Decision>> decide_all(const Context& context, const CheckOptions& options) {
    if (!options.policy && !options.kernel) {
        auto decisions = decide_in_daemon(context, options.tokens);
        if (decisions || !has_no_daemon(decisions.error())) return decisions;
    }
    auto judge = TRY(LocalJudge::create(context.paths, options));
    std::vector<core::Decision> decisions;
    for (const std::string& token : options.tokens)
        decisions.push_back(judge.decide(token));
    return decisions;
}

/// exit_refused if any of them keeps something out; else exit_not_blocked if any is refused, and what it asks
/// for is built in.
ExitCode exit_code_of(const std::vector<core::Decision>& decisions) {
    const auto is_refused = [](const core::Decision& decision) {
        return decision.effective() == core::Verdict::refuse;
    };
    if (std::ranges::any_of(decisions, &core::Decision::blocks)) return exit_refused;
    return std::ranges::any_of(decisions, is_refused) ? exit_not_blocked : exit_done;
}

/// Of several files of one name depmod chooses, by its configuration: which one is meant would not be clear.
std::string files_of(const core::Decision& decision) {
    std::string text;
    for (const core::ModuleDecision& module : decision.modules)
        if (decision.will_load(module) && !module.file.empty())
            text += (text.empty() ? "; from " : ", ") + core::printable(module.file, max_path);
    return text;
}

std::string_view note_on(const core::Step& step) {
    if (step.by_command) return " (by an install command)";
    return step.required ? "" : " (soft)";
}

/// The signature in `file`, as far as it can be read. Anybody can sign in anybody's name: only the kernel
/// verifies.
sys::Result<modules::Signature> signature_in(const std::string& file) {
    const auto image = TRY(modules::identify_file(file, {.image = {.with_signature = true}}));
    if (image.identity.signature) return *image.identity.signature;
    return sys::failure(sys::ErrorKind::invalid, image.identity.facts.problem);
}

std::string shown(const sys::Result<modules::Signature>& signature) {
    if (!signature) return "not known: " + core::printable(signature.error().what, max_path);
    if (!signature->present) return "none";
    if (!signature->problem.empty()) return core::printable(signature->problem);
    return fmt::format("signed by {} with {} (so it says; not verified here)",
                       core::printable(signature->signer), core::printable(signature->hash));
}

events::Json json_of(const sys::Result<modules::Signature>& signature) {
    using Object = events::Json::Object;
    if (!signature) return Object{{"problem", signature.error().what}};
    if (!signature->present) return Object{{"signed", false}};
    if (!signature->problem.empty()) return Object{{"signed", true}, {"problem", signature->problem}};
    return Object{
        {"signed", true}, {"signer", signature->signer}, {"hash", signature->hash}, {"verified", false}};
}

void print_commands(const Context& context, const core::ModuleDecision& module) {
    for (const core::RunCommand& command : module.commands) {
        context.text(fmt::format("    for {}, modprobe.d has modprobe run: {}", command.module,
                                 core::printable(command.text)));
        if (!command.unknown.empty())
            context.text(fmt::format("      of which it is not known what this loads: {}",
                                     core::printable(command.unknown)));
    }
}

void print_module(const Context& context, const core::Decision& decision,
                  const core::ModuleDecision& module) {
    const std::string_view outcome = decision.will_load(module) ? "loads"
                                     : module.built_in          ? "is there:"
                                                                : "stays out:";
    context.text(fmt::format("  {} {}", context.coloured(module.verdict(), outcome), explain(module)));
    if (!module.file.empty()) {
        context.text(fmt::format("    its file: {}", core::printable(module.file, max_path)));
        context.text(fmt::format("    its signature: {}", shown(signature_in(module.file))));
    }
    if (module.chain.size() > 1) {
        std::vector<std::string> chain;
        for (const core::Step& step : module.chain)
            chain.push_back(fmt::format("{}{}", step.module, note_on(step)));
        context.text(fmt::format("    in this order: {}", fmt::join(chain, ", ")));
    }
    print_commands(context, module);
    for (const std::string& omitted : module.omitted)
        context.text(fmt::format("    without its soft dependency {}", omitted));
}

std::string outcome_in_this_mode(const core::Decision& decision) {
    if (!decision.audited()) return outcome_of(decision);
    return decision.will_load() ? "let pass by audit mode" : "let pass by audit mode, but does not load";
}

/// The decision, and for each module with a file its signature.
events::Json::Object json_of(const core::Decision& decision) {
    auto object = events::json_of(decision);
    events::Json::Object signatures;
    for (const core::ModuleDecision& module : decision.modules)
        if (!module.file.empty()) signatures.emplace_back(module.module, json_of(signature_in(module.file)));
    object.emplace_back("signatures", std::move(signatures));
    return object;
}

} // namespace

sys::Result<int> run_check(const Context& context, const CheckOptions& options) {
    const auto decisions = TRY(decide_all(context, options));
    for (const core::Decision& decision : decisions) {
        context.text(fmt::format("{}: {}: {}{}", core::printable(decision.token),
                                 context.coloured(decision.effective(), outcome_of(decision)),
                                 reasons_of(decision), files_of(decision)));
        context.object(events::json_of(decision));
    }
    return exit_code_of(decisions);
}

sys::Result<int> run_explain(const Context& context, const CheckOptions& options) {
    const auto decisions = TRY(decide_all(context, options));
    const core::Decision& decision = decisions.front();
    context.text(fmt::format("{}: {}", core::printable(decision.token),
                             context.coloured(decision.effective(), outcome_in_this_mode(decision))));
    for (const core::ModuleDecision& module : decision.modules)
        print_module(context, decision, module);
    if (decision.modules.empty()) context.text(fmt::format("  {}", explain(decision)));
    if (context.json) context.object(json_of(decision));
    return exit_code_of(decisions);
}

} // namespace kmodguard::ctl
