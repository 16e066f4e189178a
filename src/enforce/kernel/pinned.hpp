// SPDX-License-Identifier: AGPL-3.0-only
//
// The kernel point without its daemon, for kmodctl: what is pinned goes on enforcing, and can be sealed
// (docs/kernel-point.md).
#pragma once

#include "enforce/kernel/status.hpp"
#include "sys/paths.hpp"
#include "sys/result.hpp"

#include <cstdint>
#include <filesystem>
#include <vector>

namespace kmodguard::kernel {

/// What is enforced by pins, and if nothing is, why not. Needs root.
[[nodiscard]] Status pinned_status(const sys::Paths& paths);

/// Seals the kernel point until the machine restarts: see seal.bpf.h. Needs a policy in enforce mode, and, on
/// older kernels, CAP_BPF; so the daemon cannot. What is sealed is written to `sealed_table`.
[[nodiscard]] sys::Result<void> seal(const std::filesystem::path& sealed_table);

/// The ids of the maps that the seal keeps everybody from. To be asked for before it.
[[nodiscard]] sys::Result<std::vector<std::uint32_t>> ids_of_sealed_maps();

} // namespace kmodguard::kernel
