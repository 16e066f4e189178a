// SPDX-License-Identifier: AGPL-3.0-only
//
// Processes: who another one is, programs that are run to their end or left running, and what this one gives
// up for good: capabilities, since what decides about modules must not be able to load one, and freed memory.
#pragma once

#include "sys/result.hpp"
#include "sys/unique_fd.hpp"

#include <sys/types.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
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
/// is here: terminal, process group, descriptors without close-on-exec; and `given`, if there is one, as
/// descriptor 3. One that is not there is not_found, one that cannot be run denied.
[[nodiscard]] Result<Child> start_child(std::vector<std::string> command, const sigset_t& signals,
                                        const UniqueFd& given = UniqueFd());

/// How a child ended.
struct Ending {
    bool signalled = false;
    int number = 0; ///< exit status, or signal
};

/// Waits for the end of `process`, a child's pidfd.
[[nodiscard]] Result<Ending> wait_for(const UniqueFd& process);

/// Sends SIGTERM to process `pid` and waits for its end, `timeout` at most.
[[nodiscard]] Result<void> terminate(pid_t pid, std::chrono::milliseconds timeout);

/// Gives up every capability for good, in the calling thread and all that it starts: bounding set, ambient,
/// inheritable, permitted and effective, and with no_new_privs any way to gain one by exec (capabilities(7)).
/// Being root, the process keeps what root's files and uid give, and nothing more. Without the right to
/// change the bounding set (not root) it is left as it is; then no_new_privs holds.
[[nodiscard]] Result<void> drop_all_capabilities();

/// Gives up all but the capabilities of these names ("cap_bpf"), in the calling thread. What it has not got,
/// it does not get: then it fails when it uses it. Fails for a name that the library does not know.
[[nodiscard]] Result<void> keep_capabilities(const std::vector<std::string_view>& names);

/// Has blocks of 128 KiB and more given back as soon as they are freed, for good (the C library would raise
/// that limit with each), and all threads take from one arena. What an image took to be judged then does not
/// stay. To be called before threads are started.
void give_back_freed_memory();

} // namespace kmodguard::sys
