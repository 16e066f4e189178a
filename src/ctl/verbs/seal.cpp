// SPDX-License-Identifier: AGPL-3.0-only
//
// Sealing cannot be undone but by a restart, so first it is printed what it takes away, and checked whether
// something is not as it would have to stay. What can still be changed in the last moment is checked
// once more afterwards.
#include "ctl/machine_status.hpp"
#include "ctl/open_files.hpp"
#include "ctl/verbs.hpp"
#include "enforce/kernel/pinned.hpp"
#include "sys/file.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <iostream>
#include <optional>
#include <vector>

namespace kmodguard::ctl {
namespace {

using Obstacles = std::vector<sys::Error>;

constexpr std::array<std::string_view, 7> forbidden = {
    "loosening the policy: allowing more, taking back what was denied, audit mode (denying and removing "
    "still work)",
    "kmodctl stop and disarm",
    "detaching or unpinning the kernel point's programs; unmounting or moving /sys/fs/bpf, and what it is "
    "mounted on",
    "changing kernel.modprobe, the program that the kernel runs when it wants a module",
    "starting another kernel by kexec, and hibernation",
    "/dev/mem and other ways of writing to the kernel's memory that lockdown refuses as well",
    "BPF programs of the extension kind, which could take the place of the guard's",
};

/// "0\n" or "1\n"; a file that is not there is 0.
bool is_set(const char* file) {
    const auto text = sys::read_pseudo_file(file);
    return text && text->starts_with('1');
}

sys::Error obstacle(std::string what, std::string remedy) {
    return {sys::ErrorKind::failed, std::move(what), std::move(remedy)};
}

void look_at_kernel_point(Obstacles& obstacles, const kernel::Status& pinned, const MachineStatus& status) {
    if (!pinned.is_enforced()) {
        const sys::Error error = error_of(status.kernel);
        const std::string why = error.what.empty() ? "its pins are not all there" : error.what;
        obstacles.push_back(obstacle(fmt::format("the kernel point is not enforced: {}", why),
                                     error.hint.empty() ? "kmodctl start" : error.hint));
    } else if (!pinned.this_build) {
        obstacles.push_back(
            obstacle("the kernel point was loaded by another version of kmodguard than this kmodctl",
                     "restart the daemon, which loads its own; then seal"));
    } else if (pinned.audit) {
        const bool forced = status.daemon && status.daemon->mode_forced;
        obstacles.push_back(obstacle("the mode is audit: nothing is refused, so there is nothing to seal",
                                     forced ? "boot without kmodguard.mode on the kernel's command line"
                                            : "kmodctl mode enforce"));
    }
}

/// A process that has one of the maps open keeps it. `daemon` is one that will let go of them.
void look_at_maps(Obstacles& obstacles, const std::vector<std::uint32_t>& maps, std::optional<pid_t> daemon) {
    for (const Process& process : processes_with_maps("/proc", maps))
        if (process.pid != daemon)
            obstacles.push_back(obstacle(
                fmt::format("process {} ({}) has the kernel point's maps open", process.pid, process.command),
                fmt::format("end it: kill -KILL {}; if it is the daemon: kmodctl start", process.pid)));
}

void look_at_handler(Obstacles& obstacles, const sys::Paths& paths,
                     const sys::Result<autoload::HandlerStatus>& handler) {
    if (!handler) return obstacles.push_back(handler.error());
    if (!handler->armed && !handler->disabled())
        obstacles.push_back(obstacle(
            fmt::format("the autoload point would stay as it is: {}", describe(*handler)), "kmodctl arm"));
    const std::filesystem::path setting = paths.handler_setting();
    for (const Process& writer : writers_of("/proc", setting, "/sys/kernel/modprobe"))
        obstacles.push_back(obstacle(fmt::format("process {} ({}) has {} open for writing", writer.pid,
                                                 writer.command, setting.native()),
                                     fmt::format("end it: kill {}", writer.pid)));
}

/// What would keep the programs from running.
void look_at_running(Obstacles& obstacles, const sys::Paths& paths) {
    if (kernel::is_tracing_off())
        obstacles.push_back(
            obstacle("kernel.ftrace_enabled is 0, which keeps the kernel point's programs from running",
                     "sysctl kernel.ftrace_enabled=1"));
    if (kernel::inspect(paths).may_skip())
        obstacles.push_back(
            obstacle("this kernel preempts itself and can leave a load unjudged, which root could use",
                     "boot with preempt=voluntary, or with bpf in lsm="));
}

void look_at_kexec(Obstacles& obstacles) {
    if (is_set("/sys/kernel/kexec_loaded"))
        obstacles.push_back(obstacle("another kernel is loaded already, and could be started", "kexec -u"));
}

void warn_of_what_stays(const Context& context, const sys::Result<protocol::DaemonStatus>& daemon) {
    if (is_set("/sys/kernel/kexec_crash_loaded"))
        context.warn("a crash kernel is loaded: it would start after a panic, unsealed (kexec -p -u)");
    if (!daemon) {
        context.warn("the daemon does not run: requests are refused until kmodctl start");
        return;
    }
    if (daemon->unsaved_changes != 0)
        context.warn(fmt::format(
            "{} changes made at run time are not saved: kmodctl apply keeps them over the restart",
            daemon->unsaved_changes));
    if (daemon->mode_seconds_left) context.warn("enforce mode is set for a limited time; sealed, it stays");
}

void print_forbidden(const Context& context) {
    context.text("Until it restarts, a sealed machine lets no process do this, root's included:");
    events::Json::List list;
    for (const std::string_view what : forbidden) {
        context.text(fmt::format("  - {}", what));
        list.emplace_back(what);
    }
    context.object({{"forbidden", std::move(list)}});
}

/// An error if no person can be asked, or says no.
sys::Result<void> ask(const Context& context) {
    if (context.json || ::isatty(STDIN_FILENO) != 1)
        return sys::failure(
            sys::ErrorKind::invalid,
            "cannot ask whether to seal: standard input is not a terminal, or --json is given",
            "kmodctl seal --yes");
    fmt::print("Seal? [y/N] ");
    std::fflush(stdout); // NOLINT(cert-err33-c): best effort
    std::string answer;
    std::getline(std::cin, answer);
    if (answer == "y" || answer == "Y" || answer == "yes") return {};
    return sys::failure(sys::ErrorKind::failed, "not sealed");
}

sys::Result<int> seal(const Context& context, const std::vector<std::uint32_t>& maps) {
    if (auto sealed = kernel::seal(context.paths.sealed_table()); !sealed)
        return context.record_failure(events::Action::seal, sealed.error());
    context.record(events::Action::seal);
    static_cast<void>(context.ask("STATUS")); // the daemon notices, and lets go of the maps
    Obstacles late;
    look_at_handler(late, context.paths, autoload::handler_status(context.paths));
    look_at_kexec(late);
    look_at_maps(late, maps, std::nullopt);
    for (const sys::Error& error : late)
        static_cast<void>(context.fail({error.kind, "sealed, but in the last moment: " + error.what,
                                        "restart the machine, and seal it again"}));
    return late.empty() ? context.done("sealed until the machine restarts") : int{exit_failed};
}

} // namespace

sys::Result<int> run_seal(const Context& context, const SealOptions& options) {
    if (context.paths.moved())
        return sys::failure(sys::ErrorKind::failed,
                            "only the running machine can be sealed, and paths are below another root",
                            "leave --root out");
    const kernel::Status pinned = kernel::pinned_status(context.paths);
    if (pinned.sealed) return context.done("sealed already");
    print_forbidden(context);
    const MachineStatus status = machine_status(context);
    if (const std::string loaded = sentence_of(status.loaded); !loaded.empty()) context.warn(loaded);
    Obstacles obstacles;
    look_at_kernel_point(obstacles, pinned, status);
    look_at_handler(obstacles, context.paths, status.handler);
    look_at_kexec(obstacles);
    look_at_running(obstacles, context.paths);
    const auto daemon = context.daemon_process();
    const auto maps = kernel::ids_of_sealed_maps();
    if (maps) // else it is not enforced, and another obstacle is that
        look_at_maps(obstacles, *maps, status.daemon && daemon ? std::optional(*daemon) : std::nullopt);
    else if (obstacles.empty())
        obstacles.push_back(maps.error());
    for (const sys::Error& obstacle : obstacles)
        static_cast<void>(context.fail(obstacle));
    if (!obstacles.empty()) return exit_failed;
    warn_of_what_stays(context, status.daemon);
    if (options.dry_run) return context.done("nothing was changed: kmodctl seal would seal");
    if (!options.yes) TRY(ask(context));
    return seal(context, *maps);
}

} // namespace kmodguard::ctl
