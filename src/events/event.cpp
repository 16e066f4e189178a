// SPDX-License-Identifier: AGPL-3.0-only
#include "events/event.hpp"

#include "core/names.hpp"

#include <fmt/format.h>
#include <syslog.h>

namespace kmodguard::events {
namespace {

constexpr std::size_t max_text = 4096;

} // namespace

int priority_of(const Attempt& attempt) {
    return is_notable(attempt) ? LOG_WARNING : LOG_INFO;
}
/// None is below notice to those who watch over the guard.
int priority_of(const Change& change) {
    return is_notable(change) ? LOG_WARNING : LOG_NOTICE;
}
int priority_of(const SealRefusal& /*refusal*/) {
    return LOG_WARNING;
}
int priority_of(const Tampering& /*tampering*/) {
    return LOG_WARNING;
}
int priority_of(const Loss& /*loss*/) {
    return LOG_ERR;
}

std::string summary(const SealRefusal& refusal) {
    std::string text = core::printable(refusal.forbidden, max_text) + ": refused: the machine is sealed";
    if (refusal.requester) text += " (by " + describe(*refusal.requester) + ")";
    return text + repetition_text(refusal.repeated, refusal.time, refusal.repeated_since);
}

std::string summary(const Tampering& tampering) {
    return "the kernel point was changed from outside: " + core::printable(tampering.found, max_text);
}

std::string summary(const Loss& loss) {
    return fmt::format("{} events were lost: logging could not keep up", loss.count);
}

std::string originator_of(const Event& event) {
    if (const auto* attempt = std::get_if<Attempt>(&event)) return originator_of(attempt->requester);
    if (const auto* refusal = std::get_if<SealRefusal>(&event)) return originator_of(refusal->requester);
    return "";
}

std::uint64_t count_of(const Event& event) {
    if (const auto* attempt = std::get_if<Attempt>(&event)) return 1 + attempt->repeated;
    if (const auto* refusal = std::get_if<SealRefusal>(&event)) return 1 + refusal->repeated;
    return 1;
}

} // namespace kmodguard::events
