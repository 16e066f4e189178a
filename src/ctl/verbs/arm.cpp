// SPDX-License-Identifier: AGPL-3.0-only
//
// The hook in the place of the kernel's handler, and the handler back in its own.
#include "ctl/daemon_process.hpp"
#include "ctl/kernel_report.hpp"
#include "ctl/own_change.hpp"
#include "ctl/verbs.hpp"
#include "enforce/autoload/handler.hpp"
#include "enforce/kernel/pins.hpp"
#include "sys/kernel.hpp"

#include <fmt/format.h>

namespace kmodguard::ctl {

sys::Result<int> run_arm(const Context& context) {
    if (sys::kernel_parameter(context.paths, "kmodguard.mode") == "off")
        return sys::failure(sys::ErrorKind::failed, "kmodguard.mode=off is on the kernel's command line",
                            "boot without it to arm");
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

sys::Result<int> run_disarm(const Context& context, const DisarmOptions& options) {
    if (options.unless_restarting && !is_stopping()) return context.done("restarting: stays armed");
    const auto failed = [&context](const sys::Error& error) {
        return record_failure(context, events::Action::disarm, error);
    };
    if (auto unsealed = require_unsealed(context.paths); !unsealed) return failed(unsealed.error());
    if (options.kernel_point && !context.paths.moved())
        if (auto removed = kernel::remove_pinned(); !removed) return failed(removed.error());
    const auto disarmed = autoload::disarm(context.paths, options.force);
    if (!disarmed) return failed(disarmed.error());
    if (disarmed->changed) record_change(context, events::Action::disarm);
    if (!disarmed->warning.empty()) context.warn(disarmed->warning);
    context.object({{"armed", false}, {"changed", disarmed->changed}, {"handler", disarmed->handler}});
    context.text(disarmed->changed ? fmt::format("disarmed: the handler is {} again", disarmed->handler)
                                   : "not armed");
    return exit_done;
}

} // namespace kmodguard::ctl
