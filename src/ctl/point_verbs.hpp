// SPDX-License-Identifier: AGPL-3.0-only
//
// What the verbs that enforce a point themselves (exec, oci-agent, guest) have in common: what judges their
// attempts, where the events go, and how signals are received. exec and guest run a command and take its
// place: signals that kmodctl gets go to the command, and kmodctl ends as the command does, so that its
// caller sees no difference.
#pragma once

#include "core/judge.hpp"
#include "ctl/context.hpp"
#include "ctl/options.hpp"
#include "events/recorder.hpp"
#include "sys/process.hpp"
#include "sys/unique_fd.hpp"

#include <sys/signalfd.h>

#include <csignal>
#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace kmodguard::ctl {

/// The policy of --policy, or the machine's. What is odd about it is warned of, unless it or --quiet says
/// otherwise.
[[nodiscard]] sys::Result<core::PolicySource> read_policy_and_warn(const Context& context,
                                                                   const SupervisionOptions& options);

/// Judges by `policy` with the modules of the chosen kernel. Where that has none that could be looked up,
/// what the policy lists by name is all that it allows.
[[nodiscard]] sys::Result<std::unique_ptr<core::Judge>>
make_judge(const sys::Paths& paths, const SupervisionOptions& options, core::PolicySource policy);

using Sinks = std::vector<std::unique_ptr<events::Sink>>;

/// Bytes, for what a firmware's hundreds of modules bring at once: a line of modules.log is not to be lost.
inline constexpr std::size_t recorder_capacity = 64UL * 1024 * 1024;

/// Where events go: the journal or syslog and standard error, unless `quiet`; with --log-dir also
/// events.jsonl and modules.log there. With --json standard error gets all events as JSON. The directory is
/// made if it is not there.
[[nodiscard]] sys::Result<Sinks> open_sinks(const Context& context, const File& log_dir, bool quiet);

/// Signals that are read from a descriptor.
struct Signals {
    sigset_t before{}; ///< the mask as it was
    sys::UniqueFd fd;

    /// The next one; nothing if none came.
    [[nodiscard]] std::optional<signalfd_siginfo> read() const;
};
/// Blocks `numbers` for this thread, and for all that it starts, with those that a log may bring.
[[nodiscard]] Signals receive_signals(std::span<const int> numbers);
/// The same of those that a command gets. Signals that stop and continue (SIGTSTP and so on) a verb obeys as
/// its command does.
[[nodiscard]] Signals receive_signals_for_command();

/// Passes a signal on to the command, unless it has it already or sent it.
void forward_signal(const signalfd_siginfo& info, pid_t command, const sys::UniqueFd& process);

/// Ends as the command did: the exit status to return, where that was no signal.
[[nodiscard]] int end_as(const sys::Ending& ending, const Signals& signals);

/// Reports why the command did not start; the exit status is env(1)'s: 127 if there is none, 126 if it cannot
/// run.
[[nodiscard]] int report_launch_failure(const Context& context, const sys::Error& error);

} // namespace kmodguard::ctl
