// SPDX-License-Identifier: AGPL-3.0-only
#include "ctl/checks.hpp"

#include "ctl/local_decision.hpp"
#include "ctl/own_change.hpp"
#include "enforce/autoload/handler.hpp"
#include "enforce/kernel/support.hpp"
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
    const auto policy = read_policy(context);
    if (!policy) return true;
    const auto& points = policy->source.points;
    return points.empty() || std::ranges::find(points, core::Point::kernel) != points.end();
}

std::string remedy_for_policy(bool valid) {
    return valid ? "mend it (kmodctl lint shows all errors), then kmodctl reload; the policy in force stays"
                 : "mend it (kmodctl lint shows all errors), then kmodctl reload; everything is refused";
}

Findings check_policy_files(const Context& context) {
    const auto policy = read_policy(context);
    if (policy) return {fine("policy", "valid")};
    const sys::Error error = config::to_error(policy.error());
    return {wrong("policy", error.what, error.hint.empty() ? remedy_for_policy(false) : error.hint)};
}

/// Whoever can write the policy decides what is loaded.
Findings check_access(const sys::Paths& paths) {
    Findings findings;
    for (const config::Diagnostic& found : config::writable_by_others(paths))
        findings.push_back(wrong("policy", fmt::format("{}: {}", found.file, found.message), found.hint));
    return findings;
}

Finding check_mode(const protocol::Answer& daemon) {
    const std::string forced = daemon.value("mode-forced");
    if (daemon.value("mode") == "enforce") return fine("mode", "enforce");
    if (!forced.empty())
        return worth_knowing("mode", fmt::format("audit, by {}: nothing is refused", forced),
                             "boot without it");
    return worth_knowing("mode", "audit: nothing is refused, only recorded", "kmodctl mode enforce");
}

/// Of the handler, if it is not as arm() leaves it.
Finding describe_handler(const autoload::HandlerStatus& status, bool kernel_point) {
    const std::string check = "handler";
    if (!status.current) return worth_knowing(check, describe(status), "there is nothing to guard");
    if (status.static_helper)
        return {check, kernel_point ? Level::note : Level::bad, describe(status),
                "boot a kernel without it, or rely on the kernel point"};
    if (status.disabled())
        return worth_knowing(check, describe(status),
                             "to have requests again, guarded: set kernel.modprobe, then kmodctl arm");
    if (status.armed)
        return wrong(check, "armed, but the original handler is lost: kmodctl disarm could not put it back",
                     "kmodctl doctor --mend, or kmodctl arm");
    if (status.taken_away())
        return wrong(check,
                     fmt::format("NOT armed: another program has set the handler to {}", *status.current),
                     "kmodctl doctor --mend, or kmodctl arm");
    return wrong(check, fmt::format("not armed: the kernel runs {}", *status.current), "kmodctl start");
}

Finding mend_handler(const Context& context) {
    const sys::Paths& paths = context.paths;
    if (sys::kernel_parameter(paths, "kmodguard.mode") == "off")
        return wrong("handler", "not mended: kmodguard.mode=off is on the kernel's command line",
                     "boot without it");
    const auto armed = autoload::arm(paths);
    record_change(context, events::Action::arm, armed ? nullptr : &armed.error());
    if (!armed) return wrong("handler", armed.error().what, armed.error().hint);
    return worth_knowing("handler", fmt::format("armed again; {}", armed->warning),
                         "find out who changed it");
}

Findings check_pins(const Patient& patient) {
    if (auto there = kernel::require_bpffs(); !there)
        return {wrong("bpffs", there.error().what, there.error().hint)};
    Findings findings{fine("bpffs", "mounted")};
    if (kernel::is_tracing_off() && patient.kernel.problem.empty()) // else the daemon has said it
        findings.push_back(wrong("tracing",
                                 "kernel.ftrace_enabled is 0, which keeps the programs from running",
                                 "kmodctl doctor --mend, or sysctl kernel.ftrace_enabled=1"));
    const kernel::Standing standing = kernel::standing();
    if (patient.kernel.by_daemon && patient.kernel.active && !standing.whole)
        findings.push_back(wrong("pins",
                                 standing.present ? "not all are there: the guard would end with the daemon"
                                                  : "there are none: the guard would end with the daemon",
                                 "the daemon puts them back within seconds; else restart it"));
    return findings;
}

std::string restart_or_start(const Patient& patient) {
    return patient.daemon ? "restart the daemon (systemctl restart kmodguard)" : "kmodctl start";
}

} // namespace

Patient examine(const Context& context) {
    auto daemon = context.ask("STATUS");
    KernelReport report = kernel_report(context.paths, daemon);
    return {.context = context,
            .daemon = std::move(daemon),
            .kernel = std::move(report),
            .support = kernel::examine(context.paths),
            .wants_kernel_point = wants_kernel_point(context)};
}

Findings mend_tracing(const Context& context) {
    if (context.paths.moved() || !kernel::is_tracing_off() || !kernel::standing().present) return {};
    if (const auto written = sys::write_setting(kernel::tracing_setting, "1\n"); !written)
        return {wrong("tracing", written.error().what, written.error().hint)};
    return {worth_knowing(
        "tracing",
        "kernel.ftrace_enabled was 0, which kept the kernel point's programs from running; it is "
        "1 again",
        "find out who changed it")};
}

Findings check_daemon(const Patient& patient) {
    if (!patient.daemon) return {wrong("daemon", patient.daemon.error().what, "kmodctl start")};
    const std::string version = patient.daemon->value("version");
    if (version == installation::version) return {fine("daemon", fmt::format("runs, version {}", version))};
    return {worth_knowing(
        "daemon", fmt::format("runs, but is version {} and kmodctl {}", version, installation::version),
        "restart the daemon (systemctl restart kmodguard)")};
}

Findings check_policy(const Patient& patient) {
    if (!patient.daemon) return check_policy_files(patient.context);
    const protocol::Answer& daemon = *patient.daemon;
    const std::string error = daemon.value("policy-error");
    Findings findings = check_access(patient.context.paths);
    findings.push_back(
        error.empty() ? fine("policy", fmt::format("valid, generation {}", daemon.value("generation")))
                      : wrong("policy", error, remedy_for_policy(daemon.value("policy-valid") == "yes")));
    for (const protocol::Field& field : daemon.fields)
        if (field.key == "policy-newer" && error.empty()) // else it was tried, and that is said
            findings.push_back(
                wrong("policy", fmt::format("{} has changed since the policy in force was read", field.value),
                      "kmodctl reload reads it; kmodctl lint shows whether it can be read"));
    if (const std::string wanted = daemon.value("wanted-mode"); !wanted.empty())
        findings.push_back(
            wrong("policy",
                  fmt::format("a stricter one is wanted (mode {}), and not in force: {}", wanted,
                              daemon.value("wanted-problem")),
                  "the daemon tries again every few seconds; if it stays, restart the daemon"));
    for (const protocol::Field& field : daemon.fields)
        if (field.key == "policy-warning")
            findings.push_back(worth_knowing("policy", field.value, "kmodctl lint shows where"));
    if (const std::string unsaved = daemon.value("unsaved-changes"); unsaved != "0" && !unsaved.empty())
        findings.push_back(worth_knowing("policy",
                                         fmt::format("changes made at run time and not saved: {}", unsaved),
                                         "kmodctl apply keeps them, kmodctl reload --discard drops them"));
    findings.push_back(check_mode(daemon));
    return findings;
}

Findings check_index(const Patient& patient) {
    const std::string release = sys::kernel_release();
    std::string error = patient.daemon ? patient.daemon->value("index-error") : "";
    if (error.empty())
        if (const auto index = modules::KmodIndex::open(patient.context.paths, release); !index)
            error = index.error().what;
    if (error.empty()) return {fine("index", fmt::format("the modules of {} are known", release))};
    return {wrong("index", error, fmt::format("depmod {}", release))};
}

Findings check_handler(const Patient& patient, bool mend) {
    const sys::Paths& paths = patient.context.paths;
    const auto status = autoload::handler_status(paths);
    if (!status) return {wrong("handler", status.error().what, "kmodctl status")};
    const bool changed = status->taken_away() || (status->armed && !status->original);
    if (changed && mend) return {mend_handler(patient.context)};
    if (!status->armed || !status->original || status->static_helper)
        return {describe_handler(*status, patient.kernel.active)};
    const std::string& original = *status->original;
    if (::access(below(paths, original).c_str(), X_OK) != 0)
        return {wrong("handler", fmt::format("armed, but the saved original {} cannot be run", original),
                      "install kmod again; what the hook does not load itself, that program has to")};
    return {fine("handler", describe(*status))};
}

Findings check_hook(const Patient& patient) {
    const std::string check = "hook";
    struct stat status{};
    const auto hook = below(patient.context.paths, installation::hook);
    if (::stat(hook.c_str(), &status) != 0 || !S_ISREG(status.st_mode) || (status.st_mode & S_IXUSR) == 0)
        return {wrong(check, fmt::format("{} is no program that can be run", installation::hook),
                      "make install, or reinstall the package")};
    if (status.st_uid != 0 || (status.st_mode & (S_IWGRP | S_IWOTH)) != 0)
        return {wrong(check, fmt::format("{} can be written to by others than root", installation::hook),
                      fmt::format("chown root {0}; chmod go-w {0}", installation::hook))};
    return {fine(check, fmt::format("{} is installed", installation::hook))};
}

Findings check_kernel_support(const Patient& patient) {
    const std::string check = "kernel";
    const Level level = patient.wants_kernel_point ? Level::bad : Level::note;
    if (patient.support.problem == patient.kernel.problem && !patient.support.problem.empty())
        return {}; // as it is said of the point itself
    if (!patient.support.problem.empty())
        return {{check, level, patient.support.problem, patient.support.hint}};
    Findings findings{fine(check, "can hold the kernel point")};
    for (const std::string& note : patient.support.notes) {
        // Where there is a remedy, the note ends with it in parentheses.
        const std::size_t parenthesis = note.ends_with(')') ? note.rfind(" (") : std::string::npos;
        findings.push_back(worth_knowing(check, note.substr(0, parenthesis),
                                         parenthesis == std::string::npos
                                             ? "kmodguard(8), THE KERNEL POINT, tells what follows"
                                             : note.substr(parenthesis + 2, note.size() - parenthesis - 3)));
    }
    return findings;
}

Findings check_kernel_point(const Patient& patient) {
    const std::string check = "kernel point";
    const KernelReport& kernel = patient.kernel;
    const auto remedy = [&] { return kernel.hint.empty() ? restart_or_start(patient) : kernel.hint; };
    if (!kernel.active && !patient.wants_kernel_point)
        return {worth_knowing(check, "not held: the policy's points leave it out",
                              "add \"kernel\" to points, or leave points out")};
    Findings findings;
    if (!kernel.active)
        findings.push_back(wrong(check, fmt::format("not held: {}", kernel.problem), remedy()));
    else if (!kernel.problem.empty())
        findings.push_back(wrong(check, kernel.problem, remedy()));
    else
        findings.push_back(fine(check, lines_of(kernel).front() + (kernel.sealed ? "; sealed" : "")));
    if (!patient.context.paths.moved() && patient.support.problem.empty())
        std::ranges::move(check_pins(patient), std::back_inserter(findings));
    return findings;
}

Findings check_records(const Patient& patient) {
    Findings findings;
    if (const std::string skipped = skipped_in_words(patient.kernel.counters); !skipped.empty())
        findings.push_back(wrong("records", skipped,
                                 "boot with preempt=voluntary, or a kernel of version 6.2 or later with bpf "
                                 "among its security modules"));
    if (const std::string lost = lost_in_words(patient.kernel.counters); !lost.empty())
        findings.push_back(worth_knowing("records", lost, "see what makes so many attempts: kmodctl status"));
    const std::string lost = patient.daemon ? patient.daemon->value("events-lost") : "0";
    if (lost != "0" && !lost.empty())
        findings.push_back(worth_knowing("records",
                                         fmt::format("{} events were lost: logging could not keep up", lost),
                                         "see what makes so many requests: kmodctl status"));
    if (findings.empty()) findings.push_back(fine("records", "none were lost"));
    return findings;
}

} // namespace kmodguard::ctl
