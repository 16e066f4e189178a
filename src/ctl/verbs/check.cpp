// SPDX-License-Identifier: AGPL-3.0-only
#include "core/names.hpp"
#include "ctl/decide.hpp"
#include "ctl/verbs.hpp"
#include "events/event_json.hpp"

#include <fmt/format.h>

namespace kmodguard::ctl {
namespace {

/// Of several files of one name depmod chooses, by its configuration: which one is meant would not be clear.
std::string files_of(const core::Decision& decision) {
    std::string text;
    for (const core::ModuleDecision& module : decision.modules)
        if (decision.will_load(module) && !module.file.empty())
            text += (text.empty() ? "; from " : ", ") + core::printable(module.file, max_path);
    return text;
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

} // namespace kmodguard::ctl
