// SPDX-License-Identifier: AGPL-3.0-only
//
// The BPF programs as they were built, and their way into the kernel. All that needs a capability happens
// here, in a process of its own that has no other: it loads, pins what it loaded, and ends. Who uses the pins
// needs none.
#pragma once

#include "core/policy.hpp"
#include "enforce/kernel/support.hpp"
#include "sys/result.hpp"

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace kmodguard::kernel {

/// The kernel's functions that are watched from the start, and those that are once the machine is sealed.
[[nodiscard]] const std::vector<std::string_view>& guarding_hooks();
[[nodiscard]] const std::vector<std::string_view>& sealing_hooks();
/// The program that takes names away from what is sealed. It is of no hook: user space runs it.
inline constexpr std::string_view tightening_program = "tighten";

/// Names of pins below the guard's directory.
[[nodiscard]] inline std::string map_pin(std::string_view map) {
    return "map_" + std::string(map);
}
[[nodiscard]] inline std::string program_pin(std::string_view hook) {
    return "program_" + std::string(hook);
}
[[nodiscard]] inline std::string link_pin(std::string_view hook) {
    return "link_" + std::string(hook);
}

/// SHA-256 of the object file: tells one build of the programs from another.
[[nodiscard]] sys::Result<core::Sha256> programs_hash();

struct LoadOptions {
    Mechanism mechanism = Mechanism::lsm;
    bool kernel_decompresses = false;
    std::filesystem::path directory; ///< for the pins; made here, must not exist
};

/// Loads the guarding programs and pins them and their maps. Needs CAP_BPF and CAP_PERFMON.
[[nodiscard]] sys::Result<void> load_programs(const LoadOptions& options);

/// Loads the programs that hold a seal, which work on the maps that are pinned in `directory`, and pins them
/// there, in place of those that an earlier attempt has left. They are attached to nothing yet. The pins must
/// be of this build (guard_settings::object). Needs CAP_BPF and CAP_PERFMON, and that the machine is not
/// sealed.
[[nodiscard]] sys::Result<void> load_sealing_programs(Mechanism mechanism,
                                                      const std::filesystem::path& directory);

} // namespace kmodguard::kernel
