// SPDX-License-Identifier: AGPL-3.0-only
#include "ctl/checks.hpp"
#include "ctl/loaded_report.hpp"
#include "ctl/verbs.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <string_view>

namespace kmodguard::ctl {
namespace {

void print(const Context& context, const Finding& finding) {
    struct Word {
        std::string_view text;
        std::string_view json;
    };
    static constexpr std::array<Word, 3> words{{{"ok", "ok"}, {"note", "note"}, {"BAD", "bad"}}};
    const Word& word = words.at(static_cast<std::size_t>(finding.level));
    const auto verdict = finding.level == Level::bad ? core::Verdict::refuse : core::Verdict::allow;
    const std::string padding(5 - word.text.size(), ' ');
    context.text(fmt::format("{}{} {}: {}{}{}", context.coloured(verdict, word.text), padding, finding.check,
                             finding.text, finding.remedy.empty() ? "" : "; remedy: ", finding.remedy));
    context.object({{"check", finding.check},
                    {"level", word.json},
                    {"finding", finding.text},
                    {"remedy", finding.remedy}});
}

} // namespace

int run_doctor(const Context& context) {
    const Findings mended = context.has("mend") ? mend_tracing(context) : Findings{};
    const Patient patient = examine(context);
    std::size_t bad = 0;
    const auto add = [&](const Findings& findings) {
        for (const Finding& finding : findings) {
            print(context, finding);
            if (finding.level == Level::bad) ++bad;
        }
    };
    add(mended);
    add(check_daemon(patient));
    add(check_policy(patient));
    add(check_index(patient));
    add(check_handler(patient, context.has("mend")));
    add(check_hook(patient));
    add(check_kernel_support(patient));
    add(check_kernel_point(patient));
    add({finding_of(loaded_report(context))});
    add(check_records(patient));
    add(check_by_trial(patient));
    context.text(bad == 0 ? "all is well" : fmt::format("{} to be mended", bad));
    return bad == 0 ? exit_done : exit_failed;
}

} // namespace kmodguard::ctl
