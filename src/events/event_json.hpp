// SPDX-License-Identifier: AGPL-3.0-only
//
// Decisions and events in JSON: what --json prints and what the JSON-lines file holds (docs/events.md).
#pragma once

#include "events/decision_json.hpp"
#include "events/event.hpp"
#include "events/json.hpp"

namespace kmodguard::events {

[[nodiscard]] Json::Object json_of(const core::Decision& decision);
/// Without members for what goes to modules.log alone.
[[nodiscard]] Json::Object json_of(const Event& event);

/// RFC 3339 in UTC, with microseconds.
[[nodiscard]] std::string timestamp(std::chrono::system_clock::time_point time);

} // namespace kmodguard::events
