// SPDX-License-Identifier: AGPL-3.0-only
//
// What `kmodctl doctor` looks at, from the policy to what happens when a module is loaded. Nothing is
// changed, except by repair_tracing, and by check_handler where that is asked for.
#pragma once

#include "ctl/context.hpp"
#include "ctl/finding.hpp"
#include "ctl/machine_status.hpp"
#include "enforce/kernel/status.hpp"

namespace kmodguard::ctl {

/// What several checks look at, found out once.
struct DoctorContext {
    const Context& context;
    MachineStatus status;
    kernel::Support support;
    bool wants_kernel_point = true; ///< the policy does
};
[[nodiscard]] DoctorContext inspect(const Context& context);

/// Lets the kernel point's programs, if there are any, run again where kernel.ftrace_enabled keeps them from
/// it. Before inspect(): the daemon notices.
[[nodiscard]] Findings repair_tracing(const Context& context);

[[nodiscard]] Findings check_daemon(const DoctorContext& doctor);
[[nodiscard]] Findings check_policy(const DoctorContext& doctor);
[[nodiscard]] Findings check_index(const DoctorContext& doctor);
/// `repair`: a handler that another process has changed is made the hook again.
[[nodiscard]] Findings check_handler(const DoctorContext& doctor, bool repair);
[[nodiscard]] Findings check_hook(const DoctorContext& doctor);
[[nodiscard]] Findings check_kernel_support(const DoctorContext& doctor);
[[nodiscard]] Findings check_kernel_point(const DoctorContext& doctor);
[[nodiscard]] Findings check_records(const DoctorContext& doctor);
/// Tries what is to be refused (trials.hpp).
[[nodiscard]] Findings check_by_trial(const DoctorContext& doctor);

} // namespace kmodguard::ctl
