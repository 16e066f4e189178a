// SPDX-License-Identifier: AGPL-3.0-only
#include "ctl/daemon_process.hpp"
#include "ctl/kernel_report.hpp"
#include "ctl/loaded_report.hpp"
#include "ctl/verbs.hpp"
#include "enforce/kernel/pins.hpp"

namespace kmodguard::ctl {

int run_start(const Context& context) {
    // The daemon may not mount, and systemd has done it where it runs. Without it the kernel point is not
    // held, and status says so.
    if (!context.paths.moved()) static_cast<void>(kernel::mount_bpffs());
    if (auto started = start_daemon(context.paths); !started) return context.fail(started.error());
    // The unit arms as well; where it did, this changes nothing.
    if (const int armed = run_arm(context); armed != exit_done) return armed;
    const auto status = context.ask("STATUS");
    if (!status) return context.fail(status.error());
    for (const auto& field : status->fields)
        if (field.key == "policy-warning") context.warn(field.value);
    const kernel::Status kernel = kernel_status(context.paths, status);
    for (const kernel::Note note : kernel.notes)
        context.warn(sentence_of(note));
    if (kernel.problem != kernel::Problem::none)
        context.warn((kernel.is_enforced() ? "the kernel point: " : "the kernel point is not held: ")
                     + error_of(kernel).what);
    const std::string error = status->value("policy-error");
    if (error.empty()) {
        if (const std::string loaded = sentence_of(loaded_report(context)); !loaded.empty())
            context.warn(loaded);
        return exit_done;
    }
    const bool none = status->value("policy-valid") == "no";
    return context.fail({sys::ErrorKind::bad_policy, error,
                         none ? "there is no valid policy: everything is refused until kmodctl init, or "
                                "mending and kmodctl reload"
                              : "the policy in force stays; kmodctl lint shows all errors"});
}

} // namespace kmodguard::ctl
