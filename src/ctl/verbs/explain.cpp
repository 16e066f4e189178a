// SPDX-License-Identifier: AGPL-3.0-only
// Why a token would load or not: each module that answers to it, its file, and who is named as its signer.
#include "core/names.hpp"
#include "ctl/decide.hpp"
#include "ctl/verbs.hpp"
#include "events/event_json.hpp"
#include "modules/image.hpp"

#include <fmt/format.h>

namespace kmodguard::ctl {
namespace {

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
        std::string chain;
        for (const core::Step& step : module.chain)
            chain += fmt::format("{}{}{}", chain.empty() ? "" : ", ", step.module, note_on(step));
        context.text(fmt::format("    in this order: {}", chain));
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
