// SPDX-License-Identifier: AGPL-3.0-only
//
// Whether this machine's kernel can have the kernel point, by which means, and if not, why not.
#pragma once

#include "enforce/kernel/status.hpp"
#include "sys/paths.hpp"

#include <vector>

namespace kmodguard::kernel {

struct Support {
    Mechanism mechanism = Mechanism::lsm;
    Problem problem = Problem::none;  ///< why it cannot be enforced; none if it can
    std::vector<Note> notes;          ///< what is weaker here than elsewhere
    bool kernel_decompresses = false; ///< the kernel takes compressed images

    [[nodiscard]] bool may_skip() const;
};

[[nodiscard]] Support inspect(const sys::Paths& paths);

/// Of the running kernel: 0 keeps all of the kernel point's programs from running.
inline constexpr const char* tracing_setting = "/proc/sys/kernel/ftrace_enabled";
/// Whether it is 0. False where the kernel has no such setting.
[[nodiscard]] bool is_tracing_off();

} // namespace kmodguard::kernel
