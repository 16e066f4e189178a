// SPDX-License-Identifier: AGPL-3.0-only
#include "config/lint.hpp"

#include "ctl/local_decision.hpp"
#include "ctl/verbs.hpp"
#include "modules/installed.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace kmodguard::ctl {
namespace {

void print(const Context& context, const config::Diagnostic& finding) {
    context.text(render(finding));
    context.object({{"severity", finding.severity == config::Severity::error ? "error" : "warning"},
                    {"file", finding.file},
                    {"line", finding.line},
                    {"column", finding.column},
                    {"message", finding.message},
                    {"hint", finding.hint}});
}

} // namespace

int run_lint(const Context& context) {
    const auto loaded =
        context.arguments.empty() ? read_policy(context) : config::load_policy(context.arguments.front(), "");
    config::Diagnostics findings = loaded ? loaded->warnings : loaded.error();
    if (loaded) {
        const std::string kernel = chosen_kernel(context);
        const auto index = modules::KmodIndex::open(context.paths, kernel);
        if (!index) return context.fail(index.error());
        const auto known = modules::installed_modules(context.paths, kernel);
        merge(findings, config::lint(loaded->source, **index, {.known_modules = known}));
    }
    for (const config::Diagnostic& finding : findings)
        print(context, finding);
    if (findings.empty()) context.text("nothing to complain about");
    return has_errors(findings) ? exit_bad_policy : exit_done;
}

} // namespace kmodguard::ctl
