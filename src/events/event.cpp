// SPDX-License-Identifier: AGPL-3.0-only
#include "events/event.hpp"

#include "core/names.hpp"

#include <fmt/format.h>

namespace kmodguard::events {

bool is_notable(const Event& event) {
    return event.decision.judged == core::Verdict::refuse;
}

std::string summary(const Event& event) {
    const core::Decision& decision = event.decision;
    std::string asked = core::printable(decision.token);
    if (asked.empty()) asked = event.file.empty() ? "image" : core::printable(event.file);
    std::string text = fmt::format("{} {}: {}", to_string(event.point), asked, explain(decision));
    if (const auto& by = event.requester)
        text += fmt::format(" (by {}[{}], uid {})", core::printable(by->command), by->pid, by->uid);
    if (event.repeated != 0) text += fmt::format(", {} times more since the last record", event.repeated);
    if (!event.note.empty()) text += "; " + event.note;
    return text;
}

} // namespace kmodguard::events
