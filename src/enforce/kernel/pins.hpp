// SPDX-License-Identifier: AGPL-3.0-only
//
// What keeps the guard in the kernel while no process of ours runs: pins in bpffs, one directory for all. A
// new set is made beside the old one and takes its name when it is whole and guards, so there is no moment
// without.
#pragma once

#include "enforce/kernel/layout.hpp"
#include "enforce/kernel/map.hpp"
#include "enforce/kernel/status.hpp"
#include "sys/result.hpp"
#include "sys/unique_fd.hpp"

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <ranges>
#include <string>
#include <string_view>

namespace kmodguard::kernel {

/// A directory of pins, with all in it open. What is open stays, whatever happens to the pins.
struct OpenPins {
    std::filesystem::path directory;
    Map<std::uint32_t, guard_settings> settings;
    Map<std::uint32_t, std::uint32_t> policy; ///< values are descriptors when written, ids when read
    Map<guard_name, guard_rule> policy_a;
    Map<guard_name, guard_rule> policy_b;
    Map<guard_content, guard_checked> inventory;
    Map<std::uint32_t, std::array<std::uint8_t, GUARD_KEY_SIZE>> content_key;
    Map<guard_name, guard_token> refused_tokens;
    Map<guard_name, std::uint8_t> tightened;
    Map<std::uint32_t, guard_state> state;
    RawMap counters;
    RawMap budget;
    RawMap budgets;
    RawMap records;
    RawMap requests;
    Map<guard_refusal, guard_repeats> repeats;
    Map<std::uint32_t, std::uint8_t> protected_maps;
    RawMap scratch;
    RawMap empty_scratch;
    bool sealed = false; ///< then the maps that the seal closes are not open
    /// By name; those of the seal are there from the moment of sealing.
    std::map<std::string, sys::UniqueFd, std::less<>> programs;
    std::map<std::string, sys::UniqueFd, std::less<>> links; ///< by hook, of those that are attached
};

/// Which part of user space writes to a map, and so when it is frozen, which keeps user space from writing.
enum class UserWriter : std::uint8_t {
    daemon,      ///< frozen by the seal if that closes it; frozen before, it takes no policy any more
    seal,        ///< which then freezes it
    none,        ///< none any more: frozen as soon as it is loaded
    ring_reader, ///< which notes in the ring how far it has read: never frozen
};

/// What becomes of the maps once the machine is sealed. It closes those that the verdict depends on.
enum class Seal : std::uint8_t {
    closes, ///< no process gets a descriptor any more
    leaves_open,
};

/// One of the programs' maps. All are pinned, as map_pin(name).
struct MapRow {
    std::string_view name; ///< in the object file
    RawMap& (*in)(OpenPins&);
    UserWriter writer;
    Seal seal;
};

template <auto Member>
[[nodiscard]] RawMap& map_in(OpenPins& pins) {
    return pins.*Member;
}

/// All maps; loading, pinning, opening, restoring, freezing and sealing walk this. A test compares it with
/// the object file (tests/unit/kernel/tables_test.cpp). The settings are first: by them it is seen that the
/// machine is sealed.
inline constexpr std::array<MapRow, 18> map_table = {{
    {"settings", map_in<&OpenPins::settings>, UserWriter::daemon, Seal::closes},
    {"policy", map_in<&OpenPins::policy>, UserWriter::daemon, Seal::closes},
    {"policy_a", map_in<&OpenPins::policy_a>, UserWriter::daemon, Seal::closes},
    {"policy_b", map_in<&OpenPins::policy_b>, UserWriter::daemon, Seal::closes},
    {"inventory", map_in<&OpenPins::inventory>, UserWriter::daemon, Seal::closes},
    {"content_key", map_in<&OpenPins::content_key>, UserWriter::none, Seal::closes},
    {"tightened", map_in<&OpenPins::tightened>, UserWriter::none, Seal::closes},
    {"protected_maps", map_in<&OpenPins::protected_maps>, UserWriter::seal, Seal::closes},
    {"scratch", map_in<&OpenPins::scratch>, UserWriter::none, Seal::closes},
    {"empty_scratch", map_in<&OpenPins::empty_scratch>, UserWriter::none, Seal::closes},
    {"refused_tokens", map_in<&OpenPins::refused_tokens>, UserWriter::daemon, Seal::leaves_open},
    {"state", map_in<&OpenPins::state>, UserWriter::daemon, Seal::leaves_open},
    {"repeats", map_in<&OpenPins::repeats>, UserWriter::daemon, Seal::leaves_open},
    {"counters", map_in<&OpenPins::counters>, UserWriter::none, Seal::leaves_open},
    {"budget", map_in<&OpenPins::budget>, UserWriter::none, Seal::leaves_open},
    {"budgets", map_in<&OpenPins::budgets>, UserWriter::none, Seal::leaves_open},
    {"records", map_in<&OpenPins::records>, UserWriter::ring_reader, Seal::leaves_open},
    {"requests", map_in<&OpenPins::requests>, UserWriter::ring_reader, Seal::leaves_open},
}};

/// When a program is loaded: from the start, or once the machine is sealed.
enum class Part : std::uint8_t { guarding, sealing };

enum class ProgramKind : std::uint8_t {
    hook,    ///< attached to the kernel's function of that name, by either mechanism
    request, ///< likewise, by Mechanism::fmod_ret alone (kmodguard.bpf.c says why)
    called,  ///< attached to nothing: user space runs it
};

/// One of the programs. All are pinned, as program_pin(name), and the links of those that are attached as
/// link_pin(name).
struct ProgramRow {
    std::string_view name; ///< of the hook, or of the program itself if it is called
    Part part;
    ProgramKind kind = ProgramKind::hook;
};

/// The programs that take names away from what is sealed, and that answer what is.
inline constexpr std::string_view tightening_program = "tighten";
inline constexpr std::string_view asking_program = "ask_sealed";

/// All programs; loading, pinning, opening, attaching and sealing walk this.
inline constexpr std::array<ProgramRow, 18> program_table = {{
    {"kernel_module_request", Part::guarding, ProgramKind::request},
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
    {tightening_program, Part::sealing, ProgramKind::called},
    {asking_program, Part::sealing, ProgramKind::called},
}};

/// The rows of `part` that are attached.
[[nodiscard]] inline auto hooks_of(Part part) {
    return program_table | std::views::filter([part](const ProgramRow& row) {
               return row.part == part && row.kind != ProgramKind::called;
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

/// Where the guard's pins are, and where a new set is made.
[[nodiscard]] std::filesystem::path pin_directory();
[[nodiscard]] std::filesystem::path new_pin_directory();

/// Fails with a hint if bpffs is not mounted where pins go.
[[nodiscard]] sys::Result<void> require_bpffs();
/// Mounts it there if that was not done. Takes CAP_SYS_ADMIN.
[[nodiscard]] sys::Result<void> mount_bpffs();

/// Opens all pins of `directory`. Fails if it is not there (not_found), or not whole; of the programs of a
/// seal those are opened that there are.
[[nodiscard]] sys::Result<OpenPins> open_pins(const std::filesystem::path& directory);

/// Opens the programs of `part`, as far as they are not open: those of the seal may be new.
[[nodiscard]] sys::Result<void> open_programs(OpenPins& pins, Part part);

/// Pins again, as far as it is open, whatever has lost its pin. True if there was something to do.
[[nodiscard]] sys::Result<bool> restore_pins(OpenPins& pins);

/// Attaches the program of `hook` if it is not attached, and pins the link if its pin is not there or
/// another. True if there was something to do.
[[nodiscard]] sys::Result<bool> attach(OpenPins& pins, std::string_view hook);

/// The settings, which are one entry.
[[nodiscard]] sys::Result<guard_settings> settings_of(const OpenPins& pins);

/// Gives the new set the name of the old one, which goes.
[[nodiscard]] sys::Result<void> replace_pins(OpenPins& fresh);

/// Removes a directory of pins. Nothing there is fine. Links that no process has open end with it.
[[nodiscard]] sys::Result<void> remove_pins(const std::filesystem::path& directory);

/// Takes the kernel point away. ErrorKind::denied if it is sealed. Nothing there is fine.
[[nodiscard]] sys::Result<void> remove_pinned();

/// Of the programs that `pins` have open, as far as the kernel tells.
[[nodiscard]] Counters read_counters(const OpenPins& pins);
[[nodiscard]] sys::Result<Mechanism> mechanism_of(const OpenPins& pins);

} // namespace kmodguard::kernel
