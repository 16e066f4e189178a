// SPDX-License-Identifier: AGPL-3.0-only
//
// Other programs: run to their end, or started and left running.
#pragma once

#include "sys/result.hpp"
#include "sys/unique_fd.hpp"

#include <sys/types.h>

#include <chrono>
#include <csignal>
#include <string>
#include <vector>

namespace kmodguard::sys {

struct Finished {
    int status = 0; ///< exit status, or 128 + signal
    std::string output;
};

/// Runs `command` (searched in PATH, no shell) and waits for its end. Its standard output is collected, up to
/// 64 KiB.
[[nodiscard]] Result<Finished> run_program(const std::vector<std::string>& command);

/// Starts `command` in a session of its own and waits until it writes a line to the descriptor whose number
/// is appended to the command as a last argument. An error if it ends before, or takes longer than
/// `timeout`.
[[nodiscard]] Result<void> start_daemon(std::vector<std::string> command, std::chrono::milliseconds timeout);

/// A child that runs beside this process.
struct Child {
    pid_t pid = 0;
    UniqueFd process; ///< its pidfd
};

/// Starts `command` (searched in PATH, no shell) with `signals` as its signal mask and everything else as it
/// is here: terminal, process group, descriptors without close-on-exec. One that is not there is not_found,
/// one that cannot be run denied.
[[nodiscard]] Result<Child> start_child(std::vector<std::string> command, const sigset_t& signals);

/// How a child ended.
struct Ending {
    bool signalled = false;
    int number = 0; ///< exit status, or signal
};

/// Waits for the end of `process`, a child's pidfd.
[[nodiscard]] Result<Ending> wait_for(const UniqueFd& process);

/// Sends SIGTERM to process `pid` and waits for its end, `timeout` at most.
[[nodiscard]] Result<void> terminate(pid_t pid, std::chrono::milliseconds timeout);

} // namespace kmodguard::sys
