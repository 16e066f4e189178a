// SPDX-License-Identifier: AGPL-3.0-only
//
// What the kernel holds already, against the policy in force.
#pragma once

#include "core/loaded.hpp"
#include "daemon/engine.hpp"

#include <set>
#include <string>
#include <vector>

namespace kmodguard::daemon {

/// The loaded modules that the policy in force would not let in (core/loaded.hpp). An error where that is not
/// known: there is no valid policy or no module index, or it cannot be seen what is loaded.
[[nodiscard]] sys::Result<std::vector<core::ModuleDecision>> loaded_and_not_admitted(Engine& engine);

/// What of `modules`, which were denied or taken off the lists now, is in the kernel all the same; a sentence
/// each for what is loaded and for what is built in.
[[nodiscard]] std::vector<std::string> what_stays(Engine& engine, const std::set<std::string>& modules);

} // namespace kmodguard::daemon
