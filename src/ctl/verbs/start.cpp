// SPDX-License-Identifier: AGPL-3.0-only
//
// The guard, brought up and taken down: the whole of it by start and stop, the hook in the place of the
// kernel's handler alone by arm and disarm; and the hook, run by hand (hook). The daemon is in systemd's
// hands where systemd runs, in ours elsewhere.
#include "ctl/machine_status.hpp"
#include "ctl/verbs.hpp"
#include "enforce/autoload/handler.hpp"
#include "enforce/autoload/hook/hook.hpp"
#include "enforce/kernel/pins.hpp"
#include "installation.hpp"
#include "sys/kernel.hpp"
#include "sys/process.hpp"

#include <fmt/format.h>
#include <unistd.h>

namespace kmodguard::ctl {
namespace {

constexpr const char* service_unit = "kmodguard.service";
constexpr std::chrono::seconds timeout{30};

/// Whether systemd is this machine's init (sd_booted(3)), and the paths are the machine's own.
bool managed_by_systemd(const sys::Paths& paths) {
    return !paths.moved() && ::access("/run/systemd/system", F_OK) == 0;
}

sys::Result<void> systemctl(const char* action) {
    const auto finished = TRY(sys::run_program({"systemctl", action, service_unit}));
    if (finished.status == 0) return {};
    return sys::failure(sys::ErrorKind::failed, fmt::format("systemctl {} {} failed", action, service_unit),
                        fmt::format("journalctl -u {} -b shows why", service_unit));
}

/// Returns once the daemon serves requests. Already running is fine.
sys::Result<void> start_daemon(const Context& context) {
    const sys::Paths& paths = context.paths;
    if (managed_by_systemd(paths)) return systemctl("start");
    if (context.daemon_process()) return {};
    std::vector<std::string> command{installation::daemon, "--background"};
    if (paths.moved()) command.insert(command.end(), {"--root", paths.root().native()});
    command.emplace_back("--ready-fd");
    if (::access(installation::daemon, X_OK) != 0)
        return sys::failure(sys::ErrorKind::failed,
                            fmt::format("the daemon {} is not installed", installation::daemon),
                            "make install, or reinstall the package");
    return sys::start_daemon(std::move(command), timeout);
}

/// Returns once it has ended. Not running is fine.
sys::Result<void> stop_daemon(const Context& context) {
    if (managed_by_systemd(context.paths)) return systemctl("stop");
    const auto daemon = context.daemon_process();
    if (daemon) return sys::terminate(*daemon, timeout);
    if (daemon.error().kind == sys::ErrorKind::unreachable) return {};
    return std::unexpected(daemon.error());
}

/// Whether systemd is stopping the service because it was asked to, and not in order to start it again. No
/// answer means no: then the machine stays armed.
bool is_stopping() {
    const auto jobs = sys::run_program({"systemctl", "list-jobs", "--no-legend", service_unit});
    return jobs && jobs->status == 0 && jobs->output.contains(" stop ");
}

} // namespace

sys::Result<int> run_start(const Context& context) {
    // The daemon may not mount, and systemd has done it where it runs. Without it the kernel point is not
    // enforced, and status shows why.
    if (!context.paths.moved()) static_cast<void>(kernel::mount_bpffs());
    TRY(start_daemon(context));
    // The unit arms as well; where it did, this changes nothing.
    if (const int armed = TRY(run_arm(context)); armed != exit_done) return armed;
    const MachineStatus status = machine_status(context);
    if (!status.daemon) return std::unexpected(status.daemon.error());
    for (const std::string& warning : status.daemon->policy_warnings)
        context.warn(warning);
    for (const kernel::Note weakness : status.kernel.notes)
        context.warn(sentence_of(weakness));
    if (status.kernel.problem != kernel::Problem::none)
        context.warn(
            (status.kernel.is_enforced() ? "the kernel point: " : "the kernel point is not enforced: ")
            + error_of(status.kernel).what);
    if (!status.daemon->policy_error) {
        if (const std::string loaded = sentence_of(status.loaded); !loaded.empty()) context.warn(loaded);
        return exit_done;
    }
    return sys::failure(
        sys::ErrorKind::bad_policy, *status.daemon->policy_error,
        status.daemon->policy_valid
            ? "the policy in force stays; kmodctl lint shows all errors"
            : "there is no valid policy: everything is refused until kmodctl init, or a repair and "
              "kmodctl reload");
}

sys::Result<int> run_stop(const Context& context) {
    const auto failed = [&context](const sys::Error& error) {
        return context.record_failure(events::Action::stop, error);
    };
    if (auto unsealed = require_unsealed(context.paths); !unsealed) return failed(unsealed.error());
    // Disarmed first: a daemon that is gone while the hook is armed means that every request is refused.
    const int exit_of_disarm = TRY(run_disarm(context, {}));
    context.record(events::Action::stop); // while the daemon is there to record who asks
    if (auto stopped = stop_daemon(context); !stopped) return failed(stopped.error());
    if (!context.paths.moved())
        if (auto removed = kernel::remove_pinned(); !removed) return failed(removed.error());
    // A unit whose daemon had to be killed, or that was being restarted, has armed again meanwhile.
    if (const auto late = autoload::disarm(context.paths, false); !late && exit_of_disarm == exit_done)
        return failed(late.error());
    return exit_of_disarm;
}

sys::Result<int> run_arm(const Context& context) {
    if (sys::kernel_parameter(context.paths, "kmodguard.mode") == "off")
        return sys::failure(sys::ErrorKind::failed, "kmodguard.mode=off is on the kernel's command line",
                            "boot without it to arm");
    const auto armed = autoload::arm(context.paths);
    if (!armed) {
        // Where it is armed already there is nothing to do, sealed or not.
        const auto unsealed = require_unsealed(context.paths);
        return context.record_failure(events::Action::arm, unsealed ? armed.error() : unsealed.error());
    }
    if (!armed->warning.empty()) context.warn(armed->warning);
    if (armed->original.empty()) return exit_done;
    if (armed->changed) context.record(events::Action::arm);
    context.object({{"armed", true}, {"changed", armed->changed}, {"original", armed->original}});
    context.text(armed->changed ? fmt::format("armed, instead of {}", armed->original) : "armed already");
    return exit_done;
}

sys::Result<int> run_disarm(const Context& context, const DisarmOptions& options) {
    if (options.unless_restarting && !is_stopping()) return context.done("restarting: stays armed");
    const auto failed = [&context](const sys::Error& error) {
        return context.record_failure(events::Action::disarm, error);
    };
    if (auto unsealed = require_unsealed(context.paths); !unsealed) return failed(unsealed.error());
    if (options.kernel_point && !context.paths.moved())
        if (auto removed = kernel::remove_pinned(); !removed) return failed(removed.error());
    const auto disarmed = autoload::disarm(context.paths, options.force);
    if (!disarmed) return failed(disarmed.error());
    if (disarmed->changed) context.record(events::Action::disarm);
    if (!disarmed->warning.empty()) context.warn(disarmed->warning);
    context.object({{"armed", false}, {"changed", disarmed->changed}, {"handler", disarmed->handler}});
    context.text(disarmed->changed ? fmt::format("disarmed: the handler is {} again", disarmed->handler)
                                   : "not armed");
    return exit_done;
}

sys::Result<int> run_hook(const Context& context, const RawOptions& options) {
    const std::string socket = context.paths.socket();
    const std::string original = context.paths.original_handler();
    const std::string command_line = context.paths.kernel_command_line();
    const std::string loaded = context.paths.below("sys/module");
    const std::string syslog = context.paths.below("dev/log");
    const std::string kernel_log = context.paths.below("dev/kmsg");
    const autoload::HookPaths paths{.socket = socket.c_str(),
                                    .original_handler = original.c_str(),
                                    .kernel_command_line = command_line.c_str(),
                                    .loaded_modules = loaded.c_str(),
                                    .syslog = syslog.c_str(),
                                    .kernel_log = kernel_log.c_str()};
    Words arguments = options.words;
    std::vector<char*> pointers;
    for (std::string& argument : arguments)
        pointers.push_back(argument.data());
    return autoload::run_hook(pointers, paths);
}

} // namespace kmodguard::ctl
