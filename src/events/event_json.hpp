// SPDX-License-Identifier: AGPL-3.0-only
//
// Decisions and events in JSON: what --json prints and what the JSON-lines file holds (docs/events.md). What
// a decision consists of is in core/decision_fields.hpp, what an event does in fields.hpp.
#pragma once

#include "events/event.hpp"
#include "events/json.hpp"

#include <array>
#include <string>
#include <string_view>

namespace kmodguard::events {

void write(Output& out, const core::Rule& rule);
/// The judgement on a module of `decision`, with what becomes of it by that.
void write(Output& out, const core::ModuleDecision& module, const core::Decision& decision);

[[nodiscard]] Json json_of(const core::Rule& rule);
[[nodiscard]] Json::Object json_of(const core::Decision& decision);

/// Appends `event` as a line of JSON, without its newline. False: it goes to modules.log alone.
[[nodiscard]] bool append_json(std::string& to, const Event& event);

/// RFC 3339 in UTC, with microseconds.
class Timestamp {
  public:
    explicit Timestamp(WallClock::time_point time);
    [[nodiscard]] std::string_view text() const { return {text_.data(), text_.size() - 1}; }

  private:
    std::array<char, 28> text_ = std::to_array("0000-00-00T00:00:00.000000Z");
};

} // namespace kmodguard::events
