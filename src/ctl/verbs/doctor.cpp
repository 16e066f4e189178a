// SPDX-License-Identifier: AGPL-3.0-only
#include "ctl/checks.hpp"
#include "ctl/verbs.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <string_view>

namespace kmodguard::ctl {
namespace {

void print(const Context& context, const Finding& finding) {
    static constexpr std::array<std::string_view, 3> words{"ok", "note", "bad"}; // in Level's order
    const std::string_view word = words.at(static_cast<std::size_t>(finding.level));
    const auto verdict = finding.level == Level::bad ? core::Verdict::refuse : core::Verdict::allow;
    const std::string padding(5 - word.size(), ' ');
    context.text(fmt::format(
        "{}{} {}: {}{}{}", context.coloured(verdict, finding.level == Level::bad ? "BAD" : word), padding,
        finding.check, finding.text, finding.remedy.empty() ? "" : "; remedy: ", finding.remedy));
    context.object(
        {{"check", finding.check}, {"level", word}, {"finding", finding.text}, {"remedy", finding.remedy}});
}

} // namespace

sys::Result<int> run_doctor(const Context& context, const DoctorOptions& options) {
    const Findings repaired = options.repair ? repair_tracing(context) : Findings{};
    const DoctorContext doctor = inspect(context);
    std::size_t bad = 0;
    const auto add = [&](const Findings& findings) {
        for (const Finding& finding : findings) {
            print(context, finding);
            if (finding.level == Level::bad) ++bad;
        }
    };
    add(repaired);
    add(check_daemon(doctor));
    add(check_policy(doctor));
    add(check_index(doctor));
    add(check_handler(doctor, options.repair));
    add(check_hook(doctor));
    add(check_kernel_support(doctor));
    add(check_kernel_point(doctor));
    add({finding_of(doctor.status.loaded)});
    add(check_records(doctor));
    add(check_by_trial(doctor));
    context.text(bad == 0 ? "no problems found"
                          : fmt::format("{} {} found", bad, bad == 1 ? "problem" : "problems"));
    return bad == 0 ? exit_done : exit_failed;
}

} // namespace kmodguard::ctl
