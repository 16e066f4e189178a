// SPDX-License-Identifier: AGPL-3.0-only
#include "events/change.hpp"

#include "core/names.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace kmodguard::events {
namespace {

// In the order of the enumerators.
constexpr std::array<std::string_view, 15> action_words = {
    "allow", "deny", "remove", "apply",   "mode",    "reload",   "arm",    "disarm",
    "stop",  "seal", "end",    "connect", "handler", "mode-end", "publish"};
static_assert(static_cast<std::size_t>(Action::publish) + 1 == action_words.size());

} // namespace

std::string_view to_string(Action action) {
    return action_words.at(static_cast<std::size_t>(action));
}

std::optional<Action> action_from(std::string_view text) {
    const auto found = std::ranges::find(action_words, text);
    if (found == action_words.end()) return std::nullopt;
    return static_cast<Action>(found - action_words.begin());
}

bool is_notable(const Change& change) {
    return change.error || change.action == Action::handler;
}

std::string summary(const Change& change) {
    constexpr std::size_t longest = 4096;
    std::string text(to_string(change.action));
    if (!change.argument.empty()) text += " " + core::printable(change.argument, longest);
    text += change.error ? ": failed: " + core::printable(*change.error, longest) : ": done";
    if (const auto& by = change.by) {
        text += fmt::format(" (by {}[{}], uid {}", core::printable(by->command), by->pid, by->uid);
        if (by->login_uid) text += fmt::format(", login uid {}", *by->login_uid);
        text += ")";
    }
    if (change.repeated != 0) text += fmt::format(", {} times more since the last record", change.repeated);
    return text;
}

} // namespace kmodguard::events
