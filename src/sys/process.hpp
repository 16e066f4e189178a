// SPDX-License-Identifier: AGPL-3.0-only
//
// Other programs: run to their end, or started and left running.
#pragma once

#include "sys/result.hpp"
#include "sys/unique_fd.hpp"

#include <sys/types.h>

#include <chrono>
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
/// `patience`.
[[nodiscard]] Result<void> start_daemon(std::vector<std::string> command, std::chrono::milliseconds patience);

/// Sends SIGTERM to process `pid` and waits for its end, `patience` at most.
[[nodiscard]] Result<void> terminate(pid_t pid, std::chrono::milliseconds patience);

} // namespace kmodguard::sys
