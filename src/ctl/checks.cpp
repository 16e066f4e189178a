// SPDX-License-Identifier: AGPL-3.0-only
#include "ctl/checks.hpp"

#include "ctl/decide.hpp"
#include "ctl/own_change.hpp"
#include "enforce/autoload/handler.hpp"
#include "enforce/kernel/pins.hpp"
#include "installation.hpp"
#include "sys/file.hpp"
#include "sys/kernel.hpp"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

namespace kmodguard::ctl {
namespace {

/// `path`, which begins with a slash, below the root.
std::filesystem::path below(const sys::Paths& paths, std::string_view path) {
    return paths.below(path.substr(1));
}

bool wants_kernel_point(const Context& context) {
    const auto policy = read_policy(context.paths);
    if (!policy) return true;
    const auto& points = policy->source.points;
    return points.empty() || std::ranges::find(points, core::Point::kernel) != points.end();
}

std::string remedy_for_policy(bool valid) {
    return fmt::format("fix it (kmodctl lint shows all errors), then kmodctl reload; {}",
                       valid ? "the policy in force stays" : "everything is refused");
}

Findings check_policy_files(const Context& context) {
    const auto policy = read_policy(context.paths);
    if (policy) return {ok("policy", "valid")};
    const sys::Error& error = policy.error();
    return {bad("policy", error.what, error.hint.empty() ? remedy_for_policy(false) : error.hint)};
}

/// Who can write the policy decides what is loaded.
Findings check_access(const sys::Paths& paths) {
    Findings findings;
    for (const config::Diagnostic& found : config::writable_by_others(paths))
        findings.push_back(bad("policy", fmt::format("{}: {}", found.file, found.message), found.hint));
    return findings;
}

Finding check_mode(const protocol::DaemonStatus& daemon) {
    if (!daemon.mode) return bad("mode", "not known: the daemon does not say", "restart the daemon");
    if (*daemon.mode == core::Mode::enforce) return ok("mode", "enforce");
    if (daemon.mode_forced)
        return note("mode", fmt::format("audit, by {}: nothing is refused", *daemon.mode_forced),
                    "boot without it");
    return note("mode", "audit: nothing is refused, only recorded", "kmodctl mode enforce");
}

/// Of the handler, if it is not as arm() leaves it.
Finding describe_handler(const autoload::HandlerStatus& status, bool kernel_point) {
    const std::string check = "handler";
    if (!status.current) return note(check, describe(status), "there is nothing to guard");
    if (status.static_helper)
        return {check, kernel_point ? Level::note : Level::bad, describe(status),
                "boot a kernel without it, or rely on the kernel point"};
    if (status.disabled())
        return note(check, describe(status),
                    "to have requests again, guarded: set kernel.modprobe, then kmodctl arm");
    if (status.armed)
        return bad(check, "armed, but the original handler is lost: kmodctl disarm could not put it back",
                   "kmodctl doctor --mend, or kmodctl arm");
    if (status.taken_away())
        return bad(check,
                   fmt::format("NOT armed: another process has set the handler to {}", *status.current),
                   "kmodctl doctor --mend, or kmodctl arm");
    return bad(check, fmt::format("not armed: the kernel runs {}", *status.current), "kmodctl start");
}

Finding repair_handler(const Context& context) {
    const sys::Paths& paths = context.paths;
    if (sys::kernel_parameter(paths, "kmodguard.mode") == "off")
        return bad("handler", "not repaired: kmodguard.mode=off is on the kernel's command line",
                   "boot without it");
    const auto armed = autoload::arm(paths);
    record_change(context, events::Action::arm, armed ? nullptr : &armed.error());
    if (!armed) return bad("handler", armed.error().what, armed.error().hint);
    return note("handler", fmt::format("armed again; {}", armed->warning), "find out who changed it");
}

Findings check_pins(const DoctorContext& doctor) {
    if (auto there = kernel::require_bpffs(); !there)
        return {bad("bpffs", there.error().what, there.error().hint)};
    Findings findings{ok("bpffs", "mounted")};
    const kernel::Status& kernel = doctor.status.kernel;
    if (kernel::is_tracing_off()
        && kernel.problem == kernel::Problem::none) // else the daemon has reported it
        findings.push_back(bad("tracing", "kernel.ftrace_enabled is 0, which keeps the programs from running",
                               "kmodctl doctor --mend, or sysctl kernel.ftrace_enabled=1"));
    const kernel::Status pinned = kernel::pinned_status(doctor.context.paths);
    if (kernel.state == kernel::State::active && !pinned.is_enforced())
        findings.push_back(bad("pins",
                               pinned.problem == kernel::Problem::pins_missing
                                   ? "not all are there: the guard would end with the daemon"
                                   : "there are none: the guard would end with the daemon",
                               "the daemon puts them back within seconds; else restart it"));
    return findings;
}

std::string restart_or_start(const DoctorContext& doctor) {
    return doctor.status.daemon ? "restart the daemon (systemctl restart kmodguard)" : "kmodctl start";
}

} // namespace

DoctorContext inspect(const Context& context) {
    return {.context = context,
            .status = machine_status(context),
            .support = kernel::inspect(context.paths),
            .wants_kernel_point = wants_kernel_point(context)};
}

Findings repair_tracing(const Context& context) {
    const kernel::Status pinned = kernel::pinned_status(context.paths);
    const bool present = pinned.is_enforced() || pinned.problem == kernel::Problem::pins_missing;
    if (context.paths.moved() || !kernel::is_tracing_off() || !present) return {};
    if (const auto written = sys::write_setting(kernel::tracing_setting, "1\n"); !written)
        return {bad("tracing", written.error().what, written.error().hint)};
    return {note("tracing",
                 "kernel.ftrace_enabled was 0, which kept the kernel point's programs from running; it is "
                 "1 again",
                 "find out who changed it")};
}

Findings check_daemon(const DoctorContext& doctor) {
    if (!doctor.status.daemon) return {bad("daemon", doctor.status.daemon.error().what, "kmodctl start")};
    const std::string& version = doctor.status.daemon->version;
    if (version == installation::version) return {ok("daemon", fmt::format("runs, version {}", version))};
    return {note("daemon",
                 fmt::format("runs, but is version {} and kmodctl {}", version, installation::version),
                 "restart the daemon (systemctl restart kmodguard)")};
}

Findings check_policy(const DoctorContext& doctor) {
    if (!doctor.status.daemon) return check_policy_files(doctor.context);
    const protocol::DaemonStatus& daemon = *doctor.status.daemon;
    Findings findings = check_access(doctor.context.paths);
    findings.push_back(daemon.policy_error
                           ? bad("policy", *daemon.policy_error, remedy_for_policy(daemon.policy_valid))
                           : ok("policy", fmt::format("valid, generation {}", daemon.generation)));
    for (const std::string& file : daemon.newer_files)
        if (!daemon.policy_error) // else it was tried, and that is reported
            findings.push_back(bad("policy",
                                   fmt::format("{} has changed since the policy in force was read", file),
                                   "kmodctl reload reads it; kmodctl lint shows whether it can be read"));
    if (daemon.wanted_mode)
        findings.push_back(
            bad("policy",
                fmt::format("a stricter one is wanted (mode {}), and not in force: {}",
                            to_string(*daemon.wanted_mode), daemon.wanted_problem.value_or("")),
                "the daemon tries again every few seconds; if it stays, restart the daemon"));
    for (const std::string& warning : daemon.policy_warnings)
        findings.push_back(note("policy", warning, "kmodctl lint shows where"));
    if (daemon.unsaved_changes != 0)
        findings.push_back(
            note("policy", fmt::format("changes made at run time and not saved: {}", daemon.unsaved_changes),
                 "kmodctl apply keeps them, kmodctl reload --discard drops them"));
    findings.push_back(check_mode(daemon));
    return findings;
}

Findings check_index(const DoctorContext& doctor) {
    const std::string release = sys::kernel_release();
    std::string error = doctor.status.daemon ? doctor.status.daemon->index_error.value_or("") : "";
    if (error.empty())
        if (const auto index = modules::KmodIndex::open(doctor.context.paths, release); !index)
            error = index.error().what;
    if (error.empty()) return {ok("index", fmt::format("the modules of {} are known", release))};
    return {bad("index", error, fmt::format("depmod {}", release))};
}

Findings check_handler(const DoctorContext& doctor, bool repair) {
    const sys::Paths& paths = doctor.context.paths;
    const auto& status = doctor.status.handler;
    if (!status) return {bad("handler", status.error().what, "kmodctl status")};
    const bool changed = status->taken_away() || (status->armed && !status->original);
    if (changed && repair) return {repair_handler(doctor.context)};
    if (!status->armed || !status->original || status->static_helper)
        return {describe_handler(*status, doctor.status.kernel.is_enforced())};
    const std::string& original = *status->original;
    if (::access(below(paths, original).c_str(), X_OK) != 0)
        return {bad("handler", fmt::format("armed, but the saved original {} cannot be run", original),
                    "install kmod again; what the hook does not load itself, that program has to")};
    return {ok("handler", describe(*status))};
}

Findings check_hook(const DoctorContext& doctor) {
    const std::string check = "hook";
    struct stat status{};
    const auto hook = below(doctor.context.paths, installation::hook);
    if (::stat(hook.c_str(), &status) != 0 || !S_ISREG(status.st_mode) || (status.st_mode & S_IXUSR) == 0)
        return {bad(check, fmt::format("{} is not a program that can be run", installation::hook),
                    "make install, or reinstall the package")};
    if (status.st_uid != 0 || (status.st_mode & (S_IWGRP | S_IWOTH)) != 0)
        return {bad(check, fmt::format("{} can be written to by others than root", installation::hook),
                    fmt::format("chown root {0}; chmod go-w {0}", installation::hook))};
    return {ok(check, fmt::format("{} is installed", installation::hook))};
}

Findings check_kernel_support(const DoctorContext& doctor) {
    const std::string check = "kernel";
    const Level level = doctor.wants_kernel_point ? Level::bad : Level::note;
    const kernel::Problem problem = doctor.support.problem;
    if (problem != kernel::Problem::none && problem == doctor.status.kernel.problem)
        return {}; // check_kernel_point() reports it
    if (problem != kernel::Problem::none)
        return {{check, level, kernel::error_of(problem).what, kernel::error_of(problem).hint}};
    Findings findings{ok(check, "can run the kernel point")};
    for (const kernel::Note weakness : doctor.support.notes) {
        const auto [what, remedy] = text_of(weakness);
        findings.push_back(note(check, std::string(what), std::string(remedy)));
    }
    return findings;
}

Findings check_kernel_point(const DoctorContext& doctor) {
    const std::string check = "kernel point";
    const kernel::Status& kernel = doctor.status.kernel;
    const sys::Error error = error_of(kernel);
    const auto remedy = [&] { return error.hint.empty() ? restart_or_start(doctor) : error.hint; };
    if (!kernel.is_enforced() && !doctor.wants_kernel_point)
        return {note(check, "not enforced: the policy's points leave it out",
                     "add \"kernel\" to points, or leave points out")};
    Findings findings;
    if (!kernel.is_enforced())
        findings.push_back(bad(check, fmt::format("not enforced: {}", error.what), remedy()));
    else if (kernel.problem != kernel::Problem::none)
        findings.push_back(bad(check, error.what, remedy()));
    else
        findings.push_back(ok(check, lines_of(kernel).front() + (kernel.sealed ? "; sealed" : "")));
    if (!doctor.context.paths.moved() && doctor.support.problem == kernel::Problem::none)
        std::ranges::move(check_pins(doctor), std::back_inserter(findings));
    return findings;
}

Findings check_records(const DoctorContext& doctor) {
    Findings findings;
    if (const std::string skipped = skipped_in_words(doctor.status.kernel.counters); !skipped.empty())
        findings.push_back(bad("records", skipped,
                               "boot with preempt=voluntary, or a kernel of version 6.2 or later with bpf "
                               "among its security modules"));
    if (const std::string lost = lost_in_words(doctor.status.kernel.counters); !lost.empty())
        findings.push_back(note("records", lost, "see what makes so many attempts: kmodctl status"));
    const std::uint64_t events_lost = doctor.status.daemon ? doctor.status.daemon->events_lost : 0;
    if (events_lost != 0)
        findings.push_back(note("records",
                                fmt::format("{} events were lost: logging could not keep up", events_lost),
                                "see what makes so many requests: kmodctl status"));
    if (findings.empty()) findings.push_back(ok("records", "none were lost"));
    return findings;
}

} // namespace kmodguard::ctl
