// SPDX-License-Identifier: AGPL-3.0-only
//
// The kernel point without its daemon, for kmodctl: what is pinned goes on enforcing.
#pragma once

#include "enforce/kernel/pins.hpp"
#include "enforce/kernel/status.hpp"
#include "sys/paths.hpp"
#include "sys/result.hpp"

namespace kmodguard::kernel {

/// What is enforced by pins, and if nothing is, why not. Needs root.
[[nodiscard]] Status pinned_status(const sys::Paths& paths);

/// Takes the kernel point away. ErrorKind::denied if it is sealed. Nothing there is fine.
[[nodiscard]] sys::Result<void> remove_pinned();

/// Of the programs that `pins` have open, as far as the kernel tells.
[[nodiscard]] Counters read_counters(const Pins& pins);
[[nodiscard]] sys::Result<Mechanism> mechanism_of(const Pins& pins);

} // namespace kmodguard::kernel
