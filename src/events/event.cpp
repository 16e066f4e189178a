// SPDX-License-Identifier: AGPL-3.0-only
#include "events/event.hpp"

#include "core/names.hpp"

#include <fmt/format.h>

namespace kmodguard::events {

bool is_notable(const Event& event) {
    return event.decision.judged == core::Verdict::refuse;
}

std::string summary(const Event& event) {
    const std::string asked = event.decision.token.empty() ? "image" : core::printable(event.decision.token);
    return fmt::format("{} {}: {}", to_string(event.point), asked, explain(event.decision));
}

} // namespace kmodguard::events
