// SPDX-License-Identifier: AGPL-3.0-only
//
// The whole guard: the daemon, the hook and the kernel point, brought up and taken down.
#include "ctl/daemon_process.hpp"
#include "ctl/kernel_report.hpp"
#include "ctl/machine_status.hpp"
#include "ctl/own_change.hpp"
#include "ctl/verbs.hpp"
#include "enforce/autoload/handler.hpp"
#include "enforce/kernel/pins.hpp"

namespace kmodguard::ctl {

sys::Result<int> run_start(const Context& context) {
    // The daemon may not mount, and systemd has done it where it runs. Without it the kernel point is not
    // enforced, and status shows why.
    if (!context.paths.moved()) static_cast<void>(kernel::mount_bpffs());
    TRY(start_daemon(context.paths));
    // The unit arms as well; where it did, this changes nothing.
    if (const int armed = TRY(run_arm(context)); armed != exit_done) return armed;
    const MachineStatus status = machine_status(context);
    if (!status.daemon) return std::unexpected(status.daemon.error());
    for (const std::string& warning : status.daemon->policy_warnings)
        context.warn(warning);
    for (const kernel::Note weakness : status.kernel.notes)
        context.warn(sentence_of(weakness));
    if (status.kernel.problem != kernel::Problem::none)
        context.warn(
            (status.kernel.is_enforced() ? "the kernel point: " : "the kernel point is not enforced: ")
            + error_of(status.kernel).what);
    if (!status.daemon->policy_error) {
        if (const std::string loaded = sentence_of(status.loaded); !loaded.empty()) context.warn(loaded);
        return exit_done;
    }
    return sys::failure(
        sys::ErrorKind::bad_policy, *status.daemon->policy_error,
        status.daemon->policy_valid
            ? "the policy in force stays; kmodctl lint shows all errors"
            : "there is no valid policy: everything is refused until kmodctl init, or a repair and "
              "kmodctl reload");
}

sys::Result<int> run_stop(const Context& context) {
    const auto failed = [&context](const sys::Error& error) {
        return record_failure(context, events::Action::stop, error);
    };
    if (auto unsealed = require_unsealed(context.paths); !unsealed) return failed(unsealed.error());
    // Disarmed first: a daemon that is gone while the hook is armed means that every request is refused.
    const int exit_of_disarm = TRY(run_disarm(context, {}));
    record_change(context, events::Action::stop); // while the daemon is there to record who asks
    if (auto stopped = stop_daemon(context.paths); !stopped) return failed(stopped.error());
    if (!context.paths.moved())
        if (auto removed = kernel::remove_pinned(); !removed) return failed(removed.error());
    // A unit whose daemon had to be killed, or that was being restarted, has armed again meanwhile.
    if (const auto late = autoload::disarm(context.paths, false); !late && exit_of_disarm == exit_done)
        return failed(late.error());
    return exit_of_disarm;
}

} // namespace kmodguard::ctl
