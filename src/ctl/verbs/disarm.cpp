// SPDX-License-Identifier: AGPL-3.0-only
#include "ctl/daemon_process.hpp"
#include "ctl/kernel_report.hpp"
#include "ctl/own_change.hpp"
#include "ctl/verbs.hpp"
#include "enforce/autoload/handler.hpp"
#include "enforce/kernel/pinned.hpp"

#include <fmt/format.h>

namespace kmodguard::ctl {

int run_disarm(const Context& context) {
    if (context.has("unless-restarting") && !is_stopping()) return context.done("restarting: stays armed");
    const auto failed = [&context](const sys::Error& error) {
        return record_failure(context, events::Action::disarm, error);
    };
    if (auto unsealed = require_unsealed(context.paths); !unsealed) return failed(unsealed.error());
    if (context.has("kernel-point") && !context.paths.moved())
        if (auto removed = kernel::remove_pinned(); !removed) return failed(removed.error());
    const auto disarmed = autoload::disarm(context.paths, context.has("force"));
    if (!disarmed) return failed(disarmed.error());
    if (disarmed->changed) record_change(context, events::Action::disarm);
    if (!disarmed->warning.empty()) context.warn(disarmed->warning);
    context.object({{"armed", false}, {"changed", disarmed->changed}, {"handler", disarmed->handler}});
    context.text(disarmed->changed ? fmt::format("disarmed: the handler is {} again", disarmed->handler)
                                   : "not armed");
    return exit_done;
}

} // namespace kmodguard::ctl
