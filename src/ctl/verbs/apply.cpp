// SPDX-License-Identifier: AGPL-3.0-only
#include "ctl/verbs.hpp"

namespace kmodguard::ctl {

int run_apply(const Context& context) {
    const auto answer = context.ask("APPLY");
    if (!answer) return context.fail(answer.error());
    events::Json::List changed;
    for (const auto& field : answer->fields) {
        context.text("changed " + field.value);
        changed.emplace_back(field.value);
    }
    if (changed.empty()) context.text(answer->text);
    context.object({{"result", answer->text}, {"changed", std::move(changed)}});
    return exit_done;
}

} // namespace kmodguard::ctl
