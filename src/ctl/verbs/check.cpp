// SPDX-License-Identifier: AGPL-3.0-only
#include "core/names.hpp"
#include "ctl/local_decision.hpp"
#include "ctl/verbs.hpp"
#include "events/event_json.hpp"

#include <fmt/format.h>

namespace kmodguard::ctl {

int run_check(const Context& context) {
    const auto decisions = decide_all(context);
    if (!decisions) return context.fail(decisions.error());
    int code = exit_done;
    for (const core::Decision& decision : *decisions) {
        const core::Verdict verdict = decision.effective();
        const std::string sentence = explain(decision);
        const std::size_t colon = sentence.find(':');
        context.text(fmt::format("{}: {}{}", core::printable(decision.token),
                                 context.coloured(verdict, sentence.substr(0, colon)),
                                 sentence.substr(colon)));
        context.object(events::json_of(decision));
        if (verdict == core::Verdict::refuse) code = exit_refused;
    }
    return code;
}

} // namespace kmodguard::ctl
