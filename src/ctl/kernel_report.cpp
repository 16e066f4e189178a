// SPDX-License-Identifier: AGPL-3.0-only
#include "ctl/kernel_report.hpp"

#include "enforce/kernel/support.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <charconv>
#include <string_view>

namespace kmodguard::ctl {
namespace {

std::uint64_t number_in(const protocol::Answer& daemon, std::string_view key) {
    const std::string text = daemon.value(fmt::format("kernel-point-{}", key));
    std::uint64_t number = 0;
    std::from_chars(text.data(), text.data() + text.size(), number);
    return number;
}

KernelReport report_of(const protocol::Answer& daemon) {
    KernelReport report;
    report.active = daemon.value("kernel-point-active") == "yes";
    report.sealed = daemon.value("kernel-point-sealed") == "yes";
    report.mechanism = daemon.value("kernel-point-mechanism");
    if (report.active) report.generation = number_in(daemon, "generation");
    if (report.active) report.modules = number_in(daemon, "modules");
    report.counters = {.allowed = number_in(daemon, "allowed"),
                       .refused = number_in(daemon, "refused"),
                       .audited = number_in(daemon, "audited"),
                       .requests = number_in(daemon, "requests"),
                       .remembered = number_in(daemon, "remembered"),
                       .lost = number_in(daemon, "lost"),
                       .skipped = number_in(daemon, "skipped")};
    report.problem = daemon.value("kernel-point-problem");
    report.hint = daemon.value("kernel-point-hint");
    for (const protocol::Field& field : daemon.fields)
        if (field.key == "kernel-point-note") report.notes.push_back(field.value);
    return report;
}

KernelReport report_by_pins(const sys::Paths& paths) {
    KernelReport report;
    report.by_daemon = false;
    kernel::Support support = kernel::examine(paths);
    report.notes = std::move(support.notes);
    const kernel::Standing standing = paths.moved() ? kernel::Standing{} : kernel::standing();
    if (standing.whole) {
        report.active = true;
        report.sealed = standing.sealed;
        report.mechanism = standing.mechanism;
        if (!standing.sealed) report.generation = standing.generation;
        report.counters = standing.counters;
        if (standing.audit) {
            report.problem = "it was left in AUDIT MODE, and refuses nothing";
            report.hint = "kmodctl start";
        }
    } else if (!support.problem.empty()) {
        report.problem = std::move(support.problem);
        report.hint = std::move(support.hint);
    } else {
        report.problem = standing.present ? "what was pinned in the kernel is not all there any more"
                                          : "the daemon does not run";
        report.hint = "kmodctl start";
    }
    return report;
}

std::string first_line(const KernelReport& report) {
    if (!report.known) return "only root can tell";
    if (!report.active) return fmt::format("not held: {}", report.problem);
    std::string line =
        fmt::format("{} by {}", report.by_daemon ? "active" : "guards on", mechanism_in_words(report));
    if (report.generation) line += fmt::format(", generation {}", *report.generation);
    if (report.modules) line += fmt::format(", {} modules", *report.modules);
    const kernel::Counters& counters = report.counters;
    return line
           + fmt::format("; {} allowed, {} refused, {} audited, {} requests refused unasked",
                         counters.allowed, counters.refused, counters.audited, counters.remembered);
}

} // namespace

KernelReport kernel_report(const sys::Paths& paths, const sys::Result<protocol::Answer>& daemon) {
    if (daemon) return report_of(*daemon);
    if (paths.moved() || ::geteuid() == 0) return report_by_pins(paths);
    KernelReport report;
    report.known = false;
    return report;
}

std::string mechanism_in_words(const KernelReport& report) {
    if (report.mechanism == to_string(kernel::Mechanism::lsm)) return "BPF LSM";
    if (report.mechanism == to_string(kernel::Mechanism::fmod_ret))
        return "overriding the security hooks (fmod_ret)";
    return "means unknown";
}

std::string skipped_in_words(const kernel::Counters& counters) {
    if (counters.skipped == 0) return "";
    return fmt::format("UP TO {} {} NOT JUDGED: the kernel left out runs of the programs (see the note)",
                       counters.skipped, counters.skipped == 1 ? "LOAD WAS" : "LOADS WERE");
}

std::string lost_in_words(const kernel::Counters& counters) {
    if (counters.lost == 0) return "";
    return fmt::format("{} {} LOST: there was no room; the attempts were judged all the same", counters.lost,
                       counters.lost == 1 ? "RECORD WAS" : "RECORDS WERE");
}

std::vector<std::string> lines_of(const KernelReport& report) {
    std::vector<std::string> lines{first_line(report)};
    const auto add = [&lines](std::string line) {
        if (!line.empty()) lines.push_back(std::move(line));
    };
    if (report.active && !report.problem.empty()) add(fmt::format("PROBLEM: {}", report.problem));
    if (!report.hint.empty()) add(fmt::format("hint: {}", report.hint));
    if (report.sealed) add("sealed until the machine restarts");
    add(skipped_in_words(report.counters));
    add(lost_in_words(report.counters));
    for (const std::string& note : report.notes)
        add(fmt::format("note: {}", note));
    return lines;
}

events::Json::Object object_of(const KernelReport& report) {
    events::Json::Object object{{"point", "kernel"}, {"active", report.active}};
    if (!report.known) {
        object.emplace_back("problem", "only root can tell");
        return object;
    }
    if (report.active) {
        object.emplace_back("mechanism", report.mechanism);
        if (report.generation) object.emplace_back("generation", *report.generation);
        object.emplace_back("sealed", report.sealed);
        if (report.modules) object.emplace_back("modules", *report.modules);
        const kernel::Counters& counters = report.counters;
        for (const auto& [name, count] :
             {std::pair("allowed", counters.allowed), std::pair("refused", counters.refused),
              std::pair("audited", counters.audited), std::pair("requests", counters.requests),
              std::pair("remembered", counters.remembered), std::pair("lost", counters.lost),
              std::pair("skipped", counters.skipped)})
            object.emplace_back(name, count);
    }
    object.emplace_back("problem", report.problem);
    object.emplace_back("hint", report.hint);
    events::Json::List notes;
    for (const std::string& note : report.notes)
        notes.emplace_back(note);
    object.emplace_back("notes", std::move(notes));
    return object;
}

sys::Result<void> require_unsealed(const sys::Paths& paths) {
    if (paths.moved() || !kernel::standing().sealed) return {};
    return sys::failure(sys::ErrorKind::denied, "the machine is sealed: the guard stays until it restarts",
                        "restart the machine; kmodguard.mode=off on its command line leaves the guard out");
}

} // namespace kmodguard::ctl
