// SPDX-License-Identifier: AGPL-3.0-only
#include "ctl/daemon_process.hpp"
#include "ctl/verbs.hpp"

namespace kmodguard::ctl {

int run_stop(const Context& context) {
    // Disarmed first: a daemon that is gone while the hook is armed means that every request is refused.
    const int disarmed = run_disarm(context);
    if (auto stopped = stop_daemon(context.paths); !stopped) return context.fail(stopped.error());
    return disarmed;
}

} // namespace kmodguard::ctl
