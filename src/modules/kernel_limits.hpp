// SPDX-License-Identifier: AGPL-3.0-only
//
// What the running kernel itself does not load: from its command line and its settings.
#pragma once

#include "core/module_index.hpp"
#include "sys/paths.hpp"

namespace kmodguard::modules {

/// As they are now. What cannot be read counts as no limit: nothing is decided by it.
[[nodiscard]] core::KernelLimits read_kernel_limits(const sys::Paths& paths);

} // namespace kmodguard::modules
