// SPDX-License-Identifier: AGPL-3.0-only
//
// kmodctl's exit codes, which scripts rely on (kmodctl(8), EXIT STATUS).
#pragma once

#include "sys/result.hpp"

namespace kmodguard::ctl {

enum ExitCode : int {
    exit_done = 0, ///< done, or allowed
    exit_failed = 1,
    exit_usage = 2,
    exit_refused = 3, ///< refused by policy
    exit_not_found = 4,
    exit_unreachable = 5, ///< the daemon
    exit_bad_policy = 6,
    exit_not_blocked = 7, ///< refused by policy, and in the kernel all the same, since it is built in
};

[[nodiscard]] constexpr ExitCode exit_code_of(sys::ErrorKind kind) {
    switch (kind) {
    case sys::ErrorKind::not_found: return exit_not_found;
    case sys::ErrorKind::unreachable: return exit_unreachable;
    case sys::ErrorKind::bad_policy: return exit_bad_policy;
    case sys::ErrorKind::invalid: return exit_usage;
    default: return exit_failed;
    }
}

} // namespace kmodguard::ctl
