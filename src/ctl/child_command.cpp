// SPDX-License-Identifier: AGPL-3.0-only
#include "ctl/child_command.hpp"

#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

namespace kmodguard::ctl {
namespace {

// As env(1) and the shells report it.
constexpr int exit_cannot_run = 126;
constexpr int exit_no_such_command = 127;

} // namespace

sigset_t forwarded_signals() {
    sigset_t set;
    ::sigemptyset(&set);
    for (const int number : {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2})
        ::sigaddset(&set, number);
    return set;
}

/// A log that is not read, or that has outgrown a limit, is no reason to leave the command unsupervised.
void block_signals(const sigset_t& forwarded, sigset_t& before) {
    sigset_t blocked = forwarded;
    ::sigaddset(&blocked, SIGPIPE);
    ::sigaddset(&blocked, SIGXFSZ);
    ::sigprocmask(SIG_BLOCK, &blocked, &before);
    ::signal(SIGCHLD, SIG_DFL); // were it ignored, as some callers leave it, the end would go unnoticed
}

// Signals of the terminal (SI_KERNEL) reach the command by themselves, being in the same process group.
void forward_signal(const signalfd_siginfo& info, pid_t command, const sys::UniqueFd& process) {
    const bool from_terminal = info.ssi_code == SI_KERNEL;
    const bool from_command = static_cast<pid_t>(info.ssi_pid) == command;
    if (from_terminal || from_command) return;
    ::syscall(SYS_pidfd_send_signal, process.get(), static_cast<int>(info.ssi_signo), nullptr, 0);
}

int end_as(const sys::Ending& ending, const sigset_t& signals) {
    if (!ending.signalled) return ending.number;
    const rlimit none{.rlim_cur = 0, .rlim_max = 0};
    ::setrlimit(RLIMIT_CORE, &none); // the command's own core file is the one that matters
    ::signal(ending.number, SIG_DFL);
    ::sigprocmask(SIG_SETMASK, &signals, nullptr);
    ::raise(ending.number);
    constexpr int signalled = 128;
    return signalled + ending.number;
}

int report_launch_failure(const Context& context, const sys::Error& error) {
    const int code = context.fail(error);
    if (error.kind == sys::ErrorKind::not_found) return exit_no_such_command;
    return error.kind == sys::ErrorKind::denied ? exit_cannot_run : code;
}

} // namespace kmodguard::ctl
