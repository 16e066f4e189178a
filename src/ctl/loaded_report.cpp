// SPDX-License-Identifier: AGPL-3.0-only
#include "ctl/loaded_report.hpp"

#include "ctl/decide.hpp"
#include "events/event_json.hpp"
#include "protocol/answers.hpp"
#include "sys/kernel.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace kmodguard::ctl {
namespace {

LoadedReport report_by_files(const Context& context) {
    auto judge = TRY(LocalJudge::create(context.paths));
    return judge.not_admitted(TRY(sys::loaded_modules(context.paths)));
}

} // namespace

LoadedReport loaded_report(const Context& context) {
    const auto answer = context.ask("LOADED");
    if (answer) return protocol::modules_of(answer->fields);
    const auto kind = answer.error().kind;
    if (kind == sys::ErrorKind::unreachable || kind == sys::ErrorKind::denied)
        return report_by_files(context);
    return std::unexpected(answer.error());
}

events::Json::Object object_of(const LoadedReport& report) {
    if (!report) return {{"problem", report.error().what}};
    events::Json::List modules;
    for (const core::ModuleDecision& module : *report) {
        events::Json::Object object{
            {"module", module.module}, {"reason", to_string(module.reason)}, {"denied", is_denied(module)}};
        if (module.rule) object.emplace_back("rule", events::json_of(*module.rule));
        modules.emplace_back(std::move(object));
    }
    return {{"not_admitted", std::move(modules)}};
}

std::string sentence_of(const LoadedReport& report) {
    if (!report)
        return fmt::format("whether the policy would admit what is loaded is not known: {}",
                           report.error().what);
    return core::explain_loaded(*report);
}

Finding finding_of(const LoadedReport& report) {
    const std::string check = "loaded";
    if (!report)
        return note(check, sentence_of(report),
                    report.error().hint.empty() ? "fix that first" : report.error().hint);
    if (report->empty()) return ok(check, "all loaded modules would be admitted");
    const bool any_denied = std::ranges::any_of(*report, core::is_denied);
    return {check, any_denied ? Level::bad : Level::note, sentence_of(report),
            std::string(core::remedy_for_loaded)};
}

} // namespace kmodguard::ctl
