// SPDX-License-Identifier: AGPL-3.0-only
//
// Whether this machine's kernel can hold the kernel point, by which means, and if not, why not.
#pragma once

#include "sys/paths.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace kmodguard::kernel {

enum class Mechanism {
    lsm,      ///< programs of the BPF security module
    fmod_ret, ///< programs that override the functions in which the kernel asks its security modules
};

[[nodiscard]] std::string_view to_string(Mechanism mechanism); ///< "lsm", "fmod_ret"

struct Support {
    Mechanism mechanism = Mechanism::lsm;
    std::string problem; ///< why it cannot be held; empty if it can
    std::string hint;
    std::vector<std::string> notes; ///< what is weaker here than elsewhere
    bool kernel_unpacks = false;    ///< the kernel takes compressed images
    bool may_skip = false;          ///< of two loads at one instant, one may go unjudged (one of the notes)
};

[[nodiscard]] Support examine(const sys::Paths& paths);

/// Of the running kernel: 0 keeps all of the kernel point's programs from running.
inline constexpr const char* tracing_setting = "/proc/sys/kernel/ftrace_enabled";
/// Whether it is 0. False where the kernel has no such setting.
[[nodiscard]] bool is_tracing_off();

} // namespace kmodguard::kernel
