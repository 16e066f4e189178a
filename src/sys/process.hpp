// SPDX-License-Identifier: AGPL-3.0-only
//
// Processes: who another one is, programs that are run to their end or left running, and how this one keeps
// small what it takes of the machine's memory.
#pragma once

#include "sys/result.hpp"
#include "sys/unique_fd.hpp"

#include <sys/types.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace kmodguard::sys {

/// Who a process is, as far as a record of what it did needs it.
struct ProcessIdentity {
    pid_t pid = 0;       ///< in the namespace of this process
    uid_t uid = 0;       ///< effective, in its user namespace
    std::string command; ///< 15 bytes of the program's name, which it may choose (comm); "" if not known
    /// Of whom the session is, whatever was changed since; nothing: not known, or of none.
    std::optional<uid_t> login_uid;
};

/// Process `pid`, which the kernel says runs as `uid`. The rest is read below `proc`, and is left out where
/// it cannot be read. Of a process that has ended meanwhile another may have the number.
[[nodiscard]] ProcessIdentity identify_process(pid_t pid, uid_t uid,
                                               const std::filesystem::path& proc = "/proc");

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

/// Has blocks of 128 KiB and more given back as soon as they are freed, for good (the C library would raise
/// that limit with each), and all threads take from one arena. What an image took to be judged then does not
/// stay. To be called before threads are started.
void give_back_freed_memory();

} // namespace kmodguard::sys
