// SPDX-License-Identifier: AGPL-3.0-only
//
// A command that is under the filter from its first instruction on.
#pragma once

#include "enforce/process/filter.hpp"
#include "sys/result.hpp"
#include "sys/unique_fd.hpp"

#include <sys/types.h>

#include <csignal>
#include <string>
#include <vector>

namespace kmodguard::process {

struct Launched {
    pid_t pid = 0;
    sys::UniqueFd process;  ///< its pidfd: readable when it has ended
    sys::UniqueFd listener; ///< of its filter
};

/// Runs `command` (searched in PATH, no shell) in a child of this process, under `filter`, with `signals` as
/// its signal mask and everything else as it is here: terminal, process group, descriptors without
/// close-on-exec. Must be called before there are threads. A command that is not there is not_found.
[[nodiscard]] sys::Result<Launched> launch(const std::vector<std::string>& command,
                                           const FilterProgram& filter, const sigset_t& signals);

/// How a child ended.
struct Ending {
    bool signalled = false;
    int number = 0; ///< exit status, or signal
};

/// Waits for the end of `process`, a child's pidfd.
[[nodiscard]] sys::Result<Ending> wait_for(const sys::UniqueFd& process);

} // namespace kmodguard::process
