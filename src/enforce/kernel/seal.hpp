// SPDX-License-Identifier: AGPL-3.0-only
//
// Sealing the kernel point; kmodctl does it (docs/kernel-point.md).
#pragma once

#include "sys/result.hpp"

#include <cstdint>
#include <filesystem>
#include <vector>

namespace kmodguard::kernel {

/// From now until the machine restarts: see seal.bpf.h. Needs a policy in enforce mode, and, on older
/// kernels, CAP_BPF; so the daemon cannot. What is sealed is written to `sealed_table`.
[[nodiscard]] sys::Result<void> seal(const std::filesystem::path& sealed_table);

/// The ids of the maps that the seal keeps everybody from. To be asked for before it.
[[nodiscard]] sys::Result<std::vector<std::uint32_t>> maps_to_seal();

} // namespace kmodguard::kernel
