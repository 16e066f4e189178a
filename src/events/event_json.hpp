// SPDX-License-Identifier: AGPL-3.0-only
//
// Decisions and events in JSON: what --json prints and what the JSON-lines file holds (docs/events.md).
#pragma once

#include "events/change.hpp"
#include "events/event.hpp"
#include "events/json.hpp"

namespace kmodguard::events {

[[nodiscard]] Json json_of(const core::Rule& rule);
[[nodiscard]] Json::Object json_of(const core::Decision& decision);
[[nodiscard]] Json::Object json_of(const Attempt& event);
[[nodiscard]] Json::Object json_of(const Change& change);

/// RFC 3339 in UTC, with microseconds.
[[nodiscard]] std::string timestamp(std::chrono::system_clock::time_point time);

} // namespace kmodguard::events
