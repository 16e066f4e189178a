// SPDX-License-Identifier: AGPL-3.0-only
#include "ctl/point_verbs.hpp"

#include "ctl/decide.hpp"
#include "events/sinks.hpp"
#include "sys/file.hpp"

#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <filesystem>

namespace kmodguard::ctl {

sys::Result<core::PolicySource> read_policy_and_warn(const Context& context,
                                                     const SupervisionOptions& options) {
    auto loaded = TRY(read_policy(context.paths, options.policy));
    for (const config::Diagnostic& warning : loaded.warnings)
        if (!options.quiet && !loaded.source.quiet)
            context.warn(fmt::format("{}:{}: {}", warning.file, warning.line, warning.message));
    return std::move(loaded.source);
}

sys::Result<std::unique_ptr<core::Judge>>
make_judge(const sys::Paths& paths, const SupervisionOptions& options, core::PolicySource policy) {
    auto index = modules::KmodIndex::open(paths, chosen_kernel(options.kernel));
    if (!index && options.kernel) return std::unexpected(index.error());
    return std::make_unique<core::Judge>(core::Policy(std::move(policy)), index ? std::move(*index) : nullptr,
                                         options.answer);
}

sys::Result<Sinks> open_sinks(const Context& context, const File& log_dir, bool quiet) {
    Sinks sinks;
    // The files first: they take at once what they are given, and wait for no program that reads.
    if (log_dir) {
        constexpr mode_t owner_only = 0700;
        const std::filesystem::path directory = *log_dir;
        TRY(sys::make_directory(directory, owner_only));
        sinks.push_back(TRY(events::json_lines_sink(directory / "events.jsonl")));
        sinks.push_back(TRY(events::modules_log_sink(directory / "modules.log")));
    }
    if (quiet) return sinks;
    sinks.push_back(events::has_journal() ? events::journal_sink() : events::syslog_sink());
    sinks.push_back(context.json ? events::json_stderr_sink() : events::stderr_sink());
    return sinks;
}

std::optional<signalfd_siginfo> Signals::read() const {
    signalfd_siginfo info{};
    if (::read(fd.get(), &info, sizeof info) != static_cast<ssize_t>(sizeof info)) return std::nullopt;
    return info;
}

Signals receive_signals(std::span<const int> numbers) {
    sigset_t set;
    ::sigemptyset(&set);
    for (const int number : numbers)
        ::sigaddset(&set, number);
    sigset_t blocked = set;
    for (const int of_a_log :
         {SIGPIPE, SIGXFSZ}) // not read, or too long: no reason to leave all unsupervised
        ::sigaddset(&blocked, of_a_log);
    Signals signals;
    ::sigprocmask(SIG_BLOCK, &blocked, &signals.before);
    signals.fd = sys::UniqueFd(::signalfd(-1, &set, SFD_CLOEXEC));
    return signals;
}

Signals receive_signals_for_command() {
    ::signal(SIGCHLD, SIG_DFL); // were it ignored, as some callers leave it, the end would go unnoticed
    return receive_signals(std::array{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2});
}

// Signals of the terminal (SI_KERNEL) reach the command by themselves, being in the same process group.
void forward_signal(const signalfd_siginfo& info, pid_t command, const sys::UniqueFd& process) {
    const bool from_terminal = info.ssi_code == SI_KERNEL;
    const bool from_command = static_cast<pid_t>(info.ssi_pid) == command;
    if (from_terminal || from_command) return;
    ::syscall(SYS_pidfd_send_signal, process.get(), static_cast<int>(info.ssi_signo), nullptr, 0);
}

int end_as(const sys::Ending& ending, const Signals& signals) {
    if (!ending.signalled) return ending.number;
    const rlimit none{.rlim_cur = 0, .rlim_max = 0};
    ::setrlimit(RLIMIT_CORE, &none); // the command's own core file is the one that matters
    ::signal(ending.number, SIG_DFL);
    ::sigprocmask(SIG_SETMASK, &signals.before, nullptr);
    ::raise(ending.number);
    constexpr int signalled = 128;
    return signalled + ending.number;
}

int report_launch_failure(const Context& context, const sys::Error& error) {
    const int code = context.fail(error);
    constexpr int cannot_run = 126; // as env(1) and the shells have it
    constexpr int no_such_command = 127;
    if (error.kind == sys::ErrorKind::not_found) return no_such_command;
    return error.kind == sys::ErrorKind::denied ? cannot_run : code;
}

} // namespace kmodguard::ctl
