// SPDX-License-Identifier: AGPL-3.0-only
//
// Words for the shells' completion scripts: "verbs", "options VERB" is in the scripts; live names come from
// here.
#include "ctl/local_decision.hpp"
#include "ctl/verbs.hpp"
#include "modules/installed.hpp"

#include <fmt/format.h>

namespace kmodguard::ctl {

int run_complete(const Context& context) {
    const std::string& kind = context.arguments.front();
    if (kind == "verbs") {
        for (const Verb& verb : verbs())
            if (!verb.name.starts_with("__")) fmt::print("{}\t{}\n", verb.name, verb.help);
    } else if (kind == "modules") {
        for (const std::string& name : modules::installed_modules(context.paths, chosen_kernel(context)))
            fmt::print("{}\n", name);
    } else if (kind == "listed") {
        const auto answer = context.ask("LIST");
        if (!answer) return exit_unreachable;
        for (const auto& field : answer->fields)
            if (field.key.ends_with(".modules")) fmt::print("{}\n", field.value);
    } else {
        return exit_usage;
    }
    return exit_done;
}

} // namespace kmodguard::ctl
