// SPDX-License-Identifier: AGPL-3.0-only
//
// Whether a decision still is about the files that it was made about.
#pragma once

#include "core/decision.hpp"

namespace kmodguard::modules {

/// Whether every image that `decision`, made with `index`, would load still is in the state in which it was
/// judged.
[[nodiscard]] bool is_current(const core::Decision& decision, core::ModuleIndex& index);

} // namespace kmodguard::modules
