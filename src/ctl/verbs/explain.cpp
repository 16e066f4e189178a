// SPDX-License-Identifier: AGPL-3.0-only
#include "core/names.hpp"
#include "ctl/local_decision.hpp"
#include "ctl/verbs.hpp"
#include "events/event_json.hpp"

#include <fmt/format.h>

namespace kmodguard::ctl {
namespace {

void print_module(const Context& context, const core::Decision& decision,
                  const core::ModuleDecision& module) {
    const bool loads = decision.loads(module);
    context.text(fmt::format("  {} {}", context.coloured(module.verdict(), loads ? "loads" : "stays out:"),
                             explain(module)));
    if (module.chain.size() > 1) {
        std::string chain;
        for (const core::Step& step : module.chain)
            chain += (chain.empty() ? "" : ", ") + step.module + (step.required ? "" : " (soft)");
        context.text(fmt::format("    in this order: {}", chain));
    }
    for (const std::string& omitted : module.omitted)
        context.text(fmt::format("    without its soft dependency {}", omitted));
}

} // namespace

int run_explain(const Context& context) {
    const auto decisions = decide_all(context);
    if (!decisions) return context.fail(decisions.error());
    const core::Decision& decision = decisions->front();
    const core::Verdict verdict = decision.effective();
    const std::string_view outcome = decision.audited()                ? "let pass by audit mode"
                                     : verdict == core::Verdict::allow ? "allowed"
                                                                       : "refused";
    context.text(fmt::format("{}: {}", core::printable(decision.token), context.coloured(verdict, outcome)));
    for (const core::ModuleDecision& module : decision.modules)
        print_module(context, decision, module);
    if (decision.modules.empty()) context.text(fmt::format("  {}", explain(decision)));
    context.object(events::json_of(decision));
    return verdict == core::Verdict::allow ? exit_done : exit_refused;
}

} // namespace kmodguard::ctl
