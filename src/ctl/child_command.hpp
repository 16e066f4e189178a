// SPDX-License-Identifier: AGPL-3.0-only
//
// A command that a verb runs (exec's, guest's emulator) and stands in for: signals that kmodctl gets go to
// the command, and kmodctl ends as the command does, so that its caller sees no difference.
#pragma once

#include "ctl/context.hpp"
#include "sys/process.hpp"
#include "sys/unique_fd.hpp"

#include <sys/signalfd.h>

#include <csignal>

namespace kmodguard::ctl {

/// What is passed on. Signals that stop and continue (SIGTSTP and so on) a verb obeys as its command does.
[[nodiscard]] sigset_t forwarded_signals();

/// Blocks them, for a signalfd, with those that a log may bring. `before` gets the mask as it was.
void block_signals(const sigset_t& forwarded, sigset_t& before);

/// Passes a signal on to the command, unless it has it already or sent it.
void forward_signal(const signalfd_siginfo& info, pid_t command, const sys::UniqueFd& process);

/// Ends as the command did: the exit status to return, where that was no signal.
[[nodiscard]] int end_as(const sys::Ending& ending, const sigset_t& signals);

/// Says why the command did not start; the exit status is env(1)'s: 127 if there is none, 126 if it cannot
/// run.
[[nodiscard]] int report_launch_failure(const Context& context, const sys::Error& error);

} // namespace kmodguard::ctl
