// SPDX-License-Identifier: AGPL-3.0-only
//
// Decisions and events in JSON: what --json prints and what the JSON-lines file holds (docs/events.md). What
// a decision consists of is in core/decision_fields.hpp, what an event does in fields.hpp.
#pragma once

#include "events/event.hpp"
#include "events/json.hpp"

namespace kmodguard::events {

[[nodiscard]] Json json_of(const core::Rule& rule);
/// The judgement on a module of `decision`, with what becomes of it by that.
[[nodiscard]] Json json_of(const core::ModuleDecision& module, const core::Decision& decision);
[[nodiscard]] Json::Object json_of(const core::Decision& decision);
/// Without members for what goes to modules.log alone.
[[nodiscard]] Json::Object json_of(const Event& event);

/// RFC 3339 in UTC, with microseconds.
[[nodiscard]] std::string timestamp(std::chrono::system_clock::time_point time);

} // namespace kmodguard::events
