// SPDX-License-Identifier: AGPL-3.0-only
//
// The parts of a decision in JSON (core/decision_fields.hpp says which).
#pragma once

#include "core/decision.hpp"
#include "events/json.hpp"

namespace kmodguard::events {

[[nodiscard]] Json json_of(const core::Rule& rule);
/// The judgement on a module of `decision`, with what becomes of it by that.
[[nodiscard]] Json json_of(const core::ModuleDecision& module, const core::Decision& decision);

} // namespace kmodguard::events
