// SPDX-License-Identifier: AGPL-3.0-only
#include "events/attempt.hpp"

#include "core/names.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>

namespace kmodguard::events {
namespace {

/// ", also for net-pf-8 and 3 others".
std::string others_text(const std::vector<std::string>& tokens) {
    std::string text;
    constexpr std::size_t shown = 8;
    for (std::size_t i = 0; i < std::min(shown, tokens.size()); ++i)
        text += (i == 0 ? ", also for " : ", ") + core::printable(tokens[i]);
    if (tokens.size() > shown) text += fmt::format(" and {} others", tokens.size() - shown);
    return text;
}

} // namespace

bool is_trial(const Attempt& attempt) {
    const core::Decision& decision = attempt.decision;
    const auto& by = attempt.requester;
    if (attempt.point != core::Point::kernel && attempt.point != core::Point::autoload) return false;
    if (!by || by->uid != uid_t{0} || by->kernel_thread || by->command != "kmodctl" || !by->container.empty()
        || decision.judged != core::Verdict::refuse)
        return false;
    if (attempt.call.empty()) return decision.reason == core::Reason::no_such_module;
    if (decision.modules.size() != 1) return false;
    const std::string& module = decision.modules.front().module;
    // Of what is compressed the kernel point sees the file alone, which is one in memory.
    return module == core::canary_name
           || (module.empty() && attempt.file.ends_with(fmt::format("memfd:{}", core::canary_name)));
}

bool is_notable(const Attempt& attempt) {
    if (attempt.withheld) return true;
    if (is_trial(attempt)) return false;
    return attempt.decision.judged == core::Verdict::refuse
           && attempt.decision.reason != core::Reason::no_such_module;
}

std::string subject_of(const Attempt& attempt) {
    const core::Decision& decision = attempt.decision;
    if (!decision.token.empty()) return core::printable(decision.token);
    for (const core::ModuleDecision& module : decision.modules)
        if (!module.module.empty()) return core::printable(module.module);
    return attempt.file.empty() ? "an image" : core::printable(attempt.file);
}

int answer_refused(Attempt& attempt, core::CallerAnswer answer) {
    if (answer == core::CallerAnswer::refuse) return EPERM;
    if (attempt.note.empty()) attempt.note = "pretended: nothing was done";
    return 0;
}

bool asks_for_other_form(const Attempt& attempt) {
    return attempt.other_form_wanted || attempt.decision.reason == core::Reason::not_a_module;
}

Importance importance_of(const Attempt& attempt) {
    const core::Decision& decision = attempt.decision;
    if (attempt.powerless) return Importance::routine;
    const bool refused_request = attempt.call.empty() && decision.effective() == core::Verdict::refuse;
    return refused_request ? Importance::routine : Importance::important;
}

std::string repetition_text(std::uint64_t repeated, std::chrono::system_clock::time_point time,
                            std::optional<std::chrono::system_clock::time_point> since) {
    if (repeated == 0) return "";
    std::string text = fmt::format(", {} times more ", repeated);
    if (!since) return text + "since the last record";
    using Seconds = std::chrono::duration<double>;
    const double span = std::chrono::duration_cast<Seconds>(time - *since).count();
    return text + fmt::format("in the {:.1f} s before", std::max(span, 0.0));
}

std::string summary(const Attempt& attempt) {
    const core::Decision& decision = attempt.decision;
    std::string asked = core::printable(decision.token);
    if (asked.empty()) asked = attempt.file.empty() ? "image" : core::printable(attempt.file);
    std::string text = fmt::format("{} {}: {}", to_string(attempt.point), asked, explain(decision));
    if (attempt.requester) text += " (by " + describe(*attempt.requester) + ")";
    text += repetition_text(attempt.repeated, attempt.time, attempt.repeated_since);
    if (attempt.repeated_since) text += others_text(attempt.other_tokens);
    if (attempt.after) text += "; after " + attempt.after->call;
    if (is_trial(attempt)) text += "; a trial of kmodctl doctor";
    if (!attempt.note.empty()) text += "; " + attempt.note;
    return text;
}

} // namespace kmodguard::events
