// SPDX-License-Identifier: AGPL-3.0-only
//
// What `kmodctl doctor` looks at, from the policy to what happens when somebody tries. Nothing is changed,
// except by mend_tracing, and by check_handler where that is asked for.
#pragma once

#include "ctl/context.hpp"
#include "ctl/finding.hpp"
#include "ctl/kernel_report.hpp"
#include "enforce/kernel/support.hpp"

namespace kmodguard::ctl {

/// What several checks look at, found out once.
struct Patient {
    const Context& context;
    sys::Result<protocol::Answer> daemon; ///< its answer to STATUS
    kernel::Status kernel;
    kernel::Support support;
    bool wants_kernel_point = true; ///< the policy does
};
[[nodiscard]] Patient examine(const Context& context);

/// Lets programs of the kernel point run again that somebody keeps from it (kernel.ftrace_enabled), if it is
/// there. Before examine(): the daemon notices.
[[nodiscard]] Findings mend_tracing(const Context& context);

[[nodiscard]] Findings check_daemon(const Patient& patient);
[[nodiscard]] Findings check_policy(const Patient& patient);
[[nodiscard]] Findings check_index(const Patient& patient);
/// `mend`: a handler that somebody has changed is made the hook again.
[[nodiscard]] Findings check_handler(const Patient& patient, bool mend);
[[nodiscard]] Findings check_hook(const Patient& patient);
[[nodiscard]] Findings check_kernel_support(const Patient& patient);
[[nodiscard]] Findings check_kernel_point(const Patient& patient);
[[nodiscard]] Findings check_records(const Patient& patient);
/// Tries what is to be refused (trials.hpp).
[[nodiscard]] Findings check_by_trial(const Patient& patient);

} // namespace kmodguard::ctl
