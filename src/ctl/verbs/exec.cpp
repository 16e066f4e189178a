// SPDX-License-Identifier: AGPL-3.0-only
//
// Runs a command whose module loads, and those of all that descends from it, are decided by a policy. To
// other processes it is as if the command had been run without: its exit status or signal, its terminal, the
// signals sent to it.
#include "ctl/point_verbs.hpp"
#include "ctl/verbs.hpp"
#include "enforce/process/launch.hpp"
#include "enforce/process/lender.hpp"
#include "enforce/process/supervisor.hpp"
#include "sys/process.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <sys/prctl.h>

#include <cstdlib>
#include <optional>

namespace kmodguard::ctl {
namespace {

constexpr std::chrono::seconds calls_timeout{5}; ///< with calls of processes that the command has left behind

/// Waits until the command has ended, or, if `all`, every process under the filter. Who has asked the command
/// to end, before or after it did, does not mean to wait for what it leaves behind.
sys::Result<sys::Ending> wait_for_end(const process::Launched& command, const Signals& signals, int listener,
                                      bool all) {
    std::optional<sys::Ending> ending;
    bool asked_to_end = false;
    while (true) {
        pollfd waits[] = {{.fd = ending ? -1 : command.process().get(), .events = POLLIN, .revents = 0},
                          {.fd = signals.fd.get(), .events = POLLIN, .revents = 0},
                          {.fd = all ? listener : -1, .events = 0, .revents = 0}};
        if (::poll(waits, std::size(waits), -1) < 0) continue; // interrupted
        if (const auto signal = waits[1].revents != 0 ? signals.read() : std::nullopt) {
            asked_to_end = asked_to_end || (signal->ssi_signo != SIGUSR1 && signal->ssi_signo != SIGUSR2);
            forward_signal(*signal, command.pid(), command.process());
        }
        if (waits[0].revents != 0) {
            auto ended = sys::wait_for(command.process());
            if (!ended || !all) return ended;
            ending = *ended;
        }
        if (ending && (asked_to_end || (waits[2].revents & POLLHUP) != 0)) return *ending;
    }
}

sys::Result<int> supervise(const Context& context, const ExecOptions& options, core::Judge& judge,
                           Sinks sinks) {
    sys::give_back_freed_memory();
    const auto filter = TRY(process::build_filter());
    const Signals signals = receive_signals_for_command();
    // What is supervised is not to look into its supervisor; a program that is started is what it was.
    ::prctl(PR_SET_DUMPABLE, 0);
    auto command = TRY(process::Launched::create(options.command, filter, signals.before));
    auto listener = TRY(process::Listener::adopt(std::move(command.listener)));

    // Threads only from here on: the command's process would have had their locks and not them.
    auto recorder = std::make_unique<events::Recorder>(std::move(sinks), recorder_capacity);
    process::RunningKernel kernel;
    auto supervisor = TRY(process::Supervisor::start(std::move(listener), judge, kernel, *recorder, {}));
    if (const auto went = command.go(); !went) return report_launch_failure(context, went.error());
    const auto ending = TRY(wait_for_end(command, signals, supervisor->fd(), options.wait));
    if (!supervisor->stop(calls_timeout)) {
        // A process that was left behind has it wait, for a file of its own perhaps.
        recorder->flush();
        std::_Exit(end_as(ending, signals));
    }
    supervisor.reset();
    recorder.reset();
    return end_as(ending, signals);
}

} // namespace

sys::Result<int> run_exec(const Context& context, const ExecOptions& options) {
    auto policy = TRY(read_policy_and_warn(context, options));
    const bool quiet = options.quiet || policy.quiet;
    if (const auto may = process::may_lend(); policy.user_namespaces && !may && !quiet)
        context.warn("no user namespace is served: " + may.error().why);
    auto sinks = TRY(open_sinks(context, options.log_dir, quiet));
    const auto judge = TRY(make_judge(context.paths, options, std::move(policy)));
    TRY(process::check_proc());
    return supervise(context, options, *judge, std::move(sinks));
}

} // namespace kmodguard::ctl
