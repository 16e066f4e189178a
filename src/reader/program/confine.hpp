// SPDX-License-Identifier: AGPL-3.0-only
#pragma once

#include "sys/result.hpp"

namespace kmodguard::reader {

/// From here on the process can read files, take memory, and answer on the descriptors that it has: no file
/// is changed or made, no process or socket made, no signal sent to another, no module or program loaded, and
/// nothing undoes that (seccomp(2)). Everything else fails with EPERM.
[[nodiscard]] sys::Result<void> confine();

} // namespace kmodguard::reader
