// SPDX-License-Identifier: AGPL-3.0-only
#include "ctl/daemon_process.hpp"
#include "ctl/kernel_report.hpp"
#include "ctl/own_change.hpp"
#include "ctl/verbs.hpp"
#include "enforce/autoload/handler.hpp"
#include "enforce/kernel/pinned.hpp"

namespace kmodguard::ctl {

int run_stop(const Context& context) {
    const auto failed = [&context](const sys::Error& error) {
        return record_failure(context, events::Action::stop, error);
    };
    if (auto unsealed = require_unsealed(context.paths); !unsealed) return failed(unsealed.error());
    // Disarmed first: a daemon that is gone while the hook is armed means that every request is refused.
    const int disarmed = run_disarm(context);
    record_change(context, events::Action::stop); // while the daemon is there to record who asks
    if (auto stopped = stop_daemon(context.paths); !stopped) return failed(stopped.error());
    if (!context.paths.moved())
        if (auto removed = kernel::remove_pinned(); !removed) return failed(removed.error());
    // A unit whose daemon had to be killed, or that was being restarted, has armed again meanwhile.
    if (const auto late = autoload::disarm(context.paths, false); !late && !disarmed)
        return failed(late.error());
    return disarmed;
}

} // namespace kmodguard::ctl
