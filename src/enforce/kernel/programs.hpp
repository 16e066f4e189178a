// SPDX-License-Identifier: AGPL-3.0-only
//
// The BPF programs as they were built, and their way into the kernel. What needs a capability happens
// here, in a process of its own that has no other: it loads, pins what it loaded, and ends. The daemon, which
// uses the pins, needs none. Sealing is kmodctl's (seal.hpp), which is root.
#pragma once

#include "core/policy.hpp"
#include "enforce/kernel/status.hpp"
#include "sys/result.hpp"

#include <array>
#include <cstdint>
#include <filesystem>
#include <ranges>
#include <string>
#include <string_view>

namespace kmodguard::kernel {

/// When a program is loaded: from the start, or once the machine is sealed.
enum class Part : std::uint8_t { guarding, sealing };

enum class Kind : std::uint8_t {
    hook,    ///< attached to the kernel's function of that name, by either mechanism
    request, ///< likewise, by Mechanism::fmod_ret alone (kmodguard.bpf.c says why)
    called,  ///< attached to nothing: user space runs it
};

/// One of the programs. All are pinned, as program_pin(name), and the links of those that are attached as
/// link_pin(name).
struct ProgramRow {
    std::string_view name; ///< of the hook, or of the program itself if it is called
    Part part;
    Kind kind = Kind::hook;
};

/// The programs that take names away from what is sealed, and that answer what is.
inline constexpr std::string_view tightening_program = "tighten";
inline constexpr std::string_view asking_program = "ask_sealed";

/// All programs; loading, pinning, opening, attaching and sealing walk this.
inline constexpr std::array<ProgramRow, 18> program_table = {{
    {"kernel_module_request", Part::guarding, Kind::request},
    {"kernel_read_file", Part::guarding},
    {"kernel_post_read_file", Part::guarding},
    {"kernel_load_data", Part::guarding},
    {"kernel_post_load_data", Part::guarding},
    {"inode_unlink", Part::sealing},
    {"inode_rmdir", Part::sealing},
    {"inode_rename", Part::sealing},
    {"sb_umount", Part::sealing},
    {"move_mount", Part::sealing},
    {"sb_mount", Part::sealing},
    {"sb_pivotroot", Part::sealing},
    {"file_open", Part::sealing},
    {"bpf", Part::sealing},
    {"bpf_map", Part::sealing},
    {"locked_down", Part::sealing},
    {tightening_program, Part::sealing, Kind::called},
    {asking_program, Part::sealing, Kind::called},
}};

/// The rows of `part` that are attached.
[[nodiscard]] inline auto hooks_of(Part part) {
    return program_table | std::views::filter([part](const ProgramRow& row) {
               return row.part == part && row.kind != Kind::called;
           });
}

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
