// SPDX-License-Identifier: AGPL-3.0-only
//
// A decision as lines of an answer, and back, so that kmodctl shows what the daemon decided exactly as it
// shows what it decided itself.
#pragma once

#include "core/decision.hpp"
#include "protocol/message.hpp"

namespace kmodguard::protocol {

[[nodiscard]] std::vector<Field> fields_of(const core::Decision& decision);
[[nodiscard]] sys::Result<core::Decision> decision_of(const std::vector<Field>& fields);

/// The same of judgements on modules that were not asked for.
[[nodiscard]] std::vector<Field> fields_of(const std::vector<core::ModuleDecision>& modules);
[[nodiscard]] sys::Result<std::vector<core::ModuleDecision>> modules_of(const std::vector<Field>& fields);

} // namespace kmodguard::protocol
