// SPDX-License-Identifier: AGPL-3.0-only
//
// What `kmodctl doctor` looks at, from the policy to what happens when a module is loaded. Each check prints
// what it finds, with the remedy. Nothing is changed but by fix_tracing() and fix_handler().
#include "ctl/decide.hpp"
#include "ctl/machine_status.hpp"
#include "ctl/trials.hpp"
#include "ctl/verbs.hpp"
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

constexpr const char* restart_daemon = "restart the daemon (systemctl restart kmodguard)";

bool policy_wants_kernel_point(const Context& context) {
    const auto policy = read_policy(context.paths);
    if (!policy) return true;
    const auto& points = policy->source.points;
    return points.empty() || std::ranges::find(points, core::Point::kernel) != points.end();
}

/// What several checks look at, found out once, and where all of them report.
class Doctor {
  public:
    explicit Doctor(const Context& of) : context(of) {}

    void ok(const char* check, std::string text) { add({check, Level::ok, std::move(text)}); }
    void note(const char* check, std::string text, std::string remedy) {
        add({check, Level::note, std::move(text), std::move(remedy)});
    }
    void bad(const char* check, std::string text, std::string remedy) {
        add({check, Level::bad, std::move(text), std::move(remedy)});
    }
    void add(const Finding& finding);
    [[nodiscard]] std::size_t problems() const { return problems_; }

    const Context& context;
    const sys::Paths& paths = context.paths;
    const MachineStatus status = machine_status(context);
    const kernel::Support support = kernel::inspect(paths);
    const bool wants_kernel_point = policy_wants_kernel_point(context);

  private:
    std::size_t problems_ = 0;
};

void Doctor::add(const Finding& finding) {
    const bool is_bad = finding.level == Level::bad;
    const std::string_view word = is_bad ? "bad" : finding.level == Level::note ? "note" : "ok";
    const auto verdict = is_bad ? core::Verdict::refuse : core::Verdict::allow;
    const std::string padding(5 - word.size(), ' ');
    context.text(fmt::format("{}{} {}: {}{}{}", context.coloured(verdict, is_bad ? "BAD" : word), padding,
                             finding.check, finding.text,
                             finding.remedy.empty() ? "" : "; remedy: ", finding.remedy));
    context.object(
        {{"check", finding.check}, {"level", word}, {"finding", finding.text}, {"remedy", finding.remedy}});
    if (is_bad) ++problems_;
}

/// Lets the kernel point's programs, if there are any, run again where kernel.ftrace_enabled keeps them from
/// it. Before anything is looked at: the daemon notices.
std::optional<Finding> fix_tracing(const Context& context) {
    const kernel::Status pinned = kernel::pinned_status(context.paths);
    const bool present = pinned.is_enforced() || pinned.problem == kernel::Problem::pins_missing;
    if (context.paths.moved() || !kernel::is_tracing_off() || !present) return std::nullopt;
    if (const auto written = sys::write_setting(kernel::tracing_setting, "1\n"); !written)
        return Finding{"tracing", Level::bad, written.error().what, written.error().hint};
    return Finding{"tracing", Level::note,
                   "kernel.ftrace_enabled was 0, which kept the kernel point's programs from running; it is "
                   "1 again",
                   "find out who changed it"};
}

void check_daemon(Doctor& doctor) {
    const auto& daemon = doctor.status.daemon;
    if (!daemon) return doctor.bad("daemon", daemon.error().what, "kmodctl start");
    if (daemon->version == installation::version)
        return doctor.ok("daemon", fmt::format("runs, version {}", daemon->version));
    doctor.note("daemon",
                fmt::format("runs, but is version {} and kmodctl {}", daemon->version, installation::version),
                restart_daemon);
}

std::string remedy_for_policy(bool valid) {
    return fmt::format("fix it (kmodctl lint shows all errors), then kmodctl reload; {}",
                       valid ? "the policy in force stays" : "everything is refused");
}

void check_policy_files(Doctor& doctor) {
    const auto policy = read_policy(doctor.paths);
    if (policy) return doctor.ok("policy", "valid");
    const sys::Error& error = policy.error();
    doctor.bad("policy", error.what, error.hint.empty() ? remedy_for_policy(false) : error.hint);
}

void check_mode(Doctor& doctor, const protocol::DaemonStatus& daemon) {
    if (!daemon.mode) return doctor.bad("mode", "not known: the daemon does not say", "restart the daemon");
    if (*daemon.mode == core::Mode::enforce) return doctor.ok("mode", "enforce");
    if (daemon.mode_forced)
        return doctor.note("mode", fmt::format("audit, by {}: nothing is refused", *daemon.mode_forced),
                           "boot without it");
    doctor.note("mode", "audit: nothing is refused, only recorded", "kmodctl mode enforce");
}

void check_policy(Doctor& doctor) {
    if (!doctor.status.daemon) return check_policy_files(doctor);
    const protocol::DaemonStatus& daemon = *doctor.status.daemon;
    for (const config::Diagnostic& found : config::writable_by_others(doctor.paths)) // who can, decides
        doctor.bad("policy", fmt::format("{}: {}", found.file, found.message), found.hint);
    if (daemon.policy_error)
        doctor.bad("policy", *daemon.policy_error, remedy_for_policy(daemon.policy_valid));
    else
        doctor.ok("policy", fmt::format("valid, generation {}", daemon.generation));
    for (const std::string& file : daemon.newer_files)
        if (!daemon.policy_error) // else it was tried, and that is reported
            doctor.bad("policy", fmt::format("{} has changed since the policy in force was read", file),
                       "kmodctl reload reads it; kmodctl lint shows whether it can be read");
    if (daemon.wanted_mode)
        doctor.bad("policy",
                   fmt::format("a stricter one is wanted (mode {}), and not in force: {}",
                               to_string(*daemon.wanted_mode), daemon.wanted_problem.value_or("")),
                   "the daemon tries again every few seconds; if it stays, restart the daemon");
    for (const std::string& warning : daemon.policy_warnings)
        doctor.note("policy", warning, "kmodctl lint shows where");
    if (daemon.unsaved_changes != 0)
        doctor.note("policy",
                    fmt::format("changes made at run time and not saved: {}", daemon.unsaved_changes),
                    "kmodctl apply keeps them, kmodctl reload --discard drops them");
    check_mode(doctor, daemon);
}

void check_index(Doctor& doctor) {
    const std::string release = sys::kernel_release();
    std::string error = doctor.status.daemon ? doctor.status.daemon->index_error.value_or("") : "";
    if (error.empty())
        if (const auto index = modules::KmodIndex::open(doctor.paths, release); !index)
            error = index.error().what;
    if (error.empty()) return doctor.ok("index", fmt::format("the modules of {} are known", release));
    doctor.bad("index", error, fmt::format("depmod {}", release));
}

void fix_handler(Doctor& doctor) {
    if (sys::kernel_parameter(doctor.paths, "kmodguard.mode") == "off")
        return doctor.bad("handler", "not fixed: kmodguard.mode=off is on the kernel's command line",
                          "boot without it");
    const auto armed = autoload::arm(doctor.paths);
    doctor.context.record(events::Action::arm, armed ? nullptr : &armed.error());
    if (!armed) return doctor.bad("handler", armed.error().what, armed.error().hint);
    doctor.note("handler", fmt::format("armed again; {}", armed->warning), "find out who changed it");
}

/// `fix`: a handler that another process has changed is made the hook again.
void check_handler(Doctor& doctor, bool fix) {
    constexpr const char* check = "handler";
    constexpr const char* arm_again = "kmodctl doctor --fix, or kmodctl arm";
    if (!doctor.status.handler)
        return doctor.bad(check, doctor.status.handler.error().what, "kmodctl status");
    const autoload::HandlerStatus& handler = *doctor.status.handler;
    const bool lost = handler.armed && !handler.original;
    if (fix && (lost || handler.taken_away())) return fix_handler(doctor);
    if (!handler.current) return doctor.note(check, describe(handler), "there is nothing to guard");
    if (handler.static_helper)
        return doctor.add({check, doctor.status.kernel.is_enforced() ? Level::note : Level::bad,
                           describe(handler), "boot a kernel without it, or rely on the kernel point"});
    if (handler.disabled())
        return doctor.note(check, describe(handler),
                           "to have requests again, guarded: set kernel.modprobe, then kmodctl arm");
    if (lost)
        return doctor.bad(check,
                          "armed, but the original handler is lost: kmodctl disarm could not put it back",
                          arm_again);
    if (handler.taken_away())
        return doctor.bad(
            check, fmt::format("NOT armed: another process has set the handler to {}", *handler.current),
            arm_again);
    if (!handler.armed)
        return doctor.bad(check, fmt::format("not armed: the kernel runs {}", *handler.current),
                          "kmodctl start");
    const std::string& original = *handler.original;
    if (::access(doctor.paths.below(original.substr(1)).c_str(), X_OK) != 0)
        return doctor.bad(check, fmt::format("armed, but the saved original {} cannot be run", original),
                          "install kmod again; what the hook does not load itself, that program has to");
    doctor.ok(check, describe(handler));
}

void check_hook(Doctor& doctor) {
    const std::string_view hook = installation::hook;
    struct stat status{};
    if (::stat(doctor.paths.below(hook.substr(1)).c_str(), &status) != 0 || !S_ISREG(status.st_mode)
        || (status.st_mode & S_IXUSR) == 0)
        return doctor.bad("hook", fmt::format("{} is not a program that can be run", hook),
                          "make install, or reinstall the package");
    if (status.st_uid != 0 || (status.st_mode & (S_IWGRP | S_IWOTH)) != 0)
        return doctor.bad("hook", fmt::format("{} can be written to by others than root", hook),
                          fmt::format("chown root {0}; chmod go-w {0}", hook));
    doctor.ok("hook", fmt::format("{} is installed", hook));
}

void check_kernel_support(Doctor& doctor) {
    const kernel::Problem problem = doctor.support.problem;
    if (problem != kernel::Problem::none && problem == doctor.status.kernel.problem)
        return; // check_kernel_point() reports it
    if (problem != kernel::Problem::none)
        return doctor.add({"kernel", doctor.wants_kernel_point ? Level::bad : Level::note,
                           kernel::error_of(problem).what, kernel::error_of(problem).hint});
    doctor.ok("kernel", "can run the kernel point");
    for (const kernel::Note weakness : doctor.support.notes) {
        const auto [what, remedy] = text_of(weakness);
        doctor.note("kernel", std::string(what), std::string(remedy));
    }
}

void check_pins(Doctor& doctor) {
    if (const auto there = kernel::require_bpffs(); !there)
        return doctor.bad("bpffs", there.error().what, there.error().hint);
    doctor.ok("bpffs", "mounted");
    const kernel::Status& kernel = doctor.status.kernel;
    if (kernel::is_tracing_off()
        && kernel.problem == kernel::Problem::none) // else the daemon has reported it
        doctor.bad("tracing", "kernel.ftrace_enabled is 0, which keeps the programs from running",
                   "kmodctl doctor --fix, or sysctl kernel.ftrace_enabled=1");
    const kernel::Status pinned = kernel::pinned_status(doctor.paths);
    if (kernel.state == kernel::State::active && !pinned.is_enforced())
        doctor.bad("pins",
                   pinned.problem == kernel::Problem::pins_missing
                       ? "not all are there: the guard would end with the daemon"
                       : "there are none: the guard would end with the daemon",
                   "the daemon puts them back within seconds; else restart it");
}

void check_kernel_point(Doctor& doctor) {
    constexpr const char* check = "kernel point";
    const kernel::Status& kernel = doctor.status.kernel;
    if (!kernel.is_enforced() && !doctor.wants_kernel_point)
        return doctor.note(check, "not enforced: the policy's points leave it out",
                           "add \"kernel\" to points, or leave points out");
    const sys::Error error = error_of(kernel);
    const std::string start = doctor.status.daemon ? restart_daemon : "kmodctl start";
    const std::string& remedy = error.hint.empty() ? start : error.hint;
    if (!kernel.is_enforced())
        doctor.bad(check, fmt::format("not enforced: {}", error.what), remedy);
    else if (kernel.problem != kernel::Problem::none)
        doctor.bad(check, error.what, remedy);
    else
        doctor.ok(check, lines_of(kernel).front() + (kernel.sealed ? "; sealed" : ""));
    if (!doctor.paths.moved() && doctor.support.problem == kernel::Problem::none) check_pins(doctor);
}

/// Denied modules that are loaded are bad, others that are not admitted a note.
void check_loaded(Doctor& doctor) {
    const LoadedReport& loaded = doctor.status.loaded;
    if (!loaded)
        return doctor.note("loaded", sentence_of(loaded),
                           loaded.error().hint.empty() ? "fix that first" : loaded.error().hint);
    if (loaded->empty()) return doctor.ok("loaded", "all loaded modules would be admitted");
    const bool any_denied = std::ranges::any_of(*loaded, core::is_denied);
    doctor.add({"loaded", any_denied ? Level::bad : Level::note, sentence_of(loaded),
                std::string(core::remedy_for_loaded)});
}

void check_records(Doctor& doctor) {
    const std::string skipped = skipped_in_words(doctor.status.kernel.counters);
    const std::string lost = lost_in_words(doctor.status.kernel.counters);
    const std::uint64_t events_lost = doctor.status.daemon ? doctor.status.daemon->events_lost : 0;
    if (!skipped.empty())
        doctor.bad("records", skipped,
                   "boot with preempt=voluntary, or a kernel of version 6.2 or later with bpf "
                   "among its security modules");
    if (!lost.empty()) doctor.note("records", lost, "see what makes so many attempts: kmodctl status");
    if (events_lost != 0)
        doctor.note("records", fmt::format("{} events were lost: logging could not keep up", events_lost),
                    "see what makes so many requests: kmodctl status");
    if (skipped.empty() && lost.empty() && events_lost == 0) doctor.ok("records", "none were lost");
}

} // namespace

sys::Result<int> run_doctor(const Context& context, const DoctorOptions& options) {
    const auto fixed = options.fix ? fix_tracing(context) : std::nullopt;
    Doctor doctor(context);
    if (fixed) doctor.add(*fixed);
    check_daemon(doctor);
    check_policy(doctor);
    check_index(doctor);
    check_handler(doctor, options.fix);
    check_hook(doctor);
    check_kernel_support(doctor);
    check_kernel_point(doctor);
    check_loaded(doctor);
    check_records(doctor);
    for (const Finding& finding : try_points(context, doctor.status))
        doctor.add(finding);
    const std::size_t problems = doctor.problems();
    context.text(problems == 0
                     ? "no problems found"
                     : fmt::format("{} {} found", problems, problems == 1 ? "problem" : "problems"));
    return problems == 0 ? exit_done : exit_failed;
}

} // namespace kmodguard::ctl
