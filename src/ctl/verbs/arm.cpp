// SPDX-License-Identifier: AGPL-3.0-only
#include "ctl/kernel_report.hpp"
#include "ctl/own_change.hpp"
#include "ctl/verbs.hpp"
#include "enforce/autoload/handler.hpp"
#include "sys/kernel.hpp"

#include <fmt/format.h>

namespace kmodguard::ctl {

int run_arm(const Context& context) {
    if (sys::kernel_parameter(context.paths, "kmodguard.mode") == "off")
        return context.fail({sys::ErrorKind::failed, "kmodguard.mode=off is on the kernel's command line",
                             "boot without it to arm"});
    const auto armed = autoload::arm(context.paths);
    if (!armed) {
        // Where it is armed already there is nothing to do, sealed or not.
        const auto unsealed = require_unsealed(context.paths);
        return record_failure(context, events::Action::arm, unsealed ? armed.error() : unsealed.error());
    }
    if (!armed->warning.empty()) context.warn(armed->warning);
    if (armed->original.empty()) return exit_done;
    if (armed->changed) record_change(context, events::Action::arm);
    context.object({{"armed", true}, {"changed", armed->changed}, {"original", armed->original}});
    context.text(armed->changed ? fmt::format("armed, instead of {}", armed->original) : "armed already");
    return exit_done;
}

} // namespace kmodguard::ctl
