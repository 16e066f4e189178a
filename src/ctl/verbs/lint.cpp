// SPDX-License-Identifier: AGPL-3.0-only
#include "config/lint.hpp"

#include "ctl/decide.hpp"
#include "ctl/verbs.hpp"
#include "modules/kmod_context.hpp"
#include "sys/kernel.hpp"

#include <fmt/format.h>

#include <memory>
#include <utility>

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

/// A policy in the YAML form is that of an emulated machine, whose modules are not the ones here.
bool is_for_guests(const LintOptions& options) {
    return options.file && !options.kernel && config::form_of(*options.file) == config::Form::yaml;
}

/// What is loaded on the kernel that is looked at, where that is the running one.
std::optional<std::vector<std::string>> loaded_modules_of(const Context& context, const std::string& kernel) {
    if (kernel != sys::kernel_release()) return std::nullopt;
    auto loaded = sys::loaded_modules(context.paths);
    if (loaded) return std::move(*loaded);
    context.text(fmt::format("not compared with what is loaded: {}", loaded.error().what));
    return std::nullopt;
}

/// A slip there makes a module load, or keeps one out, against what its author meant.
config::Diagnostics findings_in_modprobe_d(const sys::Paths& paths) {
    config::Diagnostics findings;
    for (const modules::IgnoredLine& line : modules::ignored_lines(paths))
        findings.push_back({config::Severity::warning, line.file, line.line, 0,
                            fmt::format("modprobe passes over this line, which begins with {}",
                                        config::in_quotes(line.word)),
                            "modprobe.d(5) has the directives, and what each takes"});
    return findings;
}

/// A kernel beside the one that is looked at; without an index: none.
using Former = std::pair<std::string, std::unique_ptr<modules::KmodIndex>>;

/// The running kernel, or the one that the policy was written on: a module that it knows may have another
/// name on the one that is looked at.
Former former_kernel(const Context& context, const core::PolicySource& source, const std::string& kernel) {
    for (const std::string& release : {sys::kernel_release(), source.kernel_release}) {
        if (release.empty() || release.contains('/') || release == kernel) continue;
        if (auto index = modules::KmodIndex::open(context.paths, release); index)
            return {release, std::move(*index)};
    }
    return {};
}

} // namespace

sys::Result<int> run_lint(const Context& context, const LintOptions& options) {
    const auto loaded =
        options.file ? config::load_policy({*options.file}) : config::load_policy(context.paths);
    const std::string kernel = chosen_kernel(options.kernel);
    config::Diagnostics findings = loaded ? loaded->warnings : loaded.error();
    if (loaded && !is_for_guests(options)) {
        const auto index = TRY(modules::KmodIndex::open(context.paths, kernel));
        const auto [former_release, former] = former_kernel(context, loaded->source, kernel);
        merge(findings, findings_in_modprobe_d(context.paths));
        merge(findings, config::lint(loaded->source, *index,
                                     {.loaded = loaded_modules_of(context, kernel),
                                      .former = former.get(),
                                      .former_release = former_release}));
    }
    for (const config::Diagnostic& finding : findings)
        print(context, finding);
    if (findings.empty()) context.text("no problems");
    if (loaded && is_for_guests(options))
        context.text(
            "not compared with this machine's modules, since it is a guest's; --root and --kernel say where "
            "that one's are");
    return has_errors(findings) ? int{exit_code_of(to_error(findings).kind)} : exit_done;
}

} // namespace kmodguard::ctl
