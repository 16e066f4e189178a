// SPDX-License-Identifier: AGPL-3.0-only
//
// What keeps the guard in the kernel while no process of ours runs: pins in bpffs, one directory for all. A
// new set is made beside the old one and takes its name when it is whole and guards, so there is no moment
// without.
#pragma once

#include "enforce/kernel/layout.hpp"
#include "enforce/kernel/map.hpp"
#include "enforce/kernel/programs.hpp"
#include "sys/result.hpp"

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace kmodguard::kernel {

/// A directory of pins, with all in it open. What is open stays, whatever happens to the pins.
struct Pins {
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

/// Who writes to a map, and so whether it is frozen, which keeps user space from writing.
enum class Writer : std::uint8_t {
    daemon,   ///< frozen by the seal if that closes it; frozen before, it takes no policy any more
    sealing,  ///< the seal, which then freezes it
    programs, ///< frozen as soon as it is loaded
    reader,   ///< a process that reads the ring says how far
};

/// What becomes of the maps once the machine is sealed. It closes those that the verdict depends on.
enum class Seal : std::uint8_t {
    closes, ///< no process gets a descriptor any more
    leaves_open,
};

/// One of the programs' maps. All are pinned, as map_pin(name).
struct MapRow {
    std::string_view name; ///< in the object file
    RawMap& (*in)(Pins&);
    Writer writer;
    Seal seal;
};

template <auto Member>
[[nodiscard]] RawMap& map_in(Pins& pins) {
    return pins.*Member;
}

/// All maps; loading, pinning, opening, restoring, freezing and sealing walk this. A test compares it with
/// the object file (tests/unit/kernel/tables_test.cpp). The settings are first: by them it is seen that the
/// machine is sealed.
inline constexpr std::array<MapRow, 18> map_table = {{
    {"settings", map_in<&Pins::settings>, Writer::daemon, Seal::closes},
    {"policy", map_in<&Pins::policy>, Writer::daemon, Seal::closes},
    {"policy_a", map_in<&Pins::policy_a>, Writer::daemon, Seal::closes},
    {"policy_b", map_in<&Pins::policy_b>, Writer::daemon, Seal::closes},
    {"inventory", map_in<&Pins::inventory>, Writer::daemon, Seal::closes},
    {"content_key", map_in<&Pins::content_key>, Writer::programs, Seal::closes},
    {"tightened", map_in<&Pins::tightened>, Writer::programs, Seal::closes},
    {"protected_maps", map_in<&Pins::protected_maps>, Writer::sealing, Seal::closes},
    {"scratch", map_in<&Pins::scratch>, Writer::programs, Seal::closes},
    {"empty_scratch", map_in<&Pins::empty_scratch>, Writer::programs, Seal::closes},
    {"refused_tokens", map_in<&Pins::refused_tokens>, Writer::daemon, Seal::leaves_open},
    {"state", map_in<&Pins::state>, Writer::daemon, Seal::leaves_open},
    {"repeats", map_in<&Pins::repeats>, Writer::daemon, Seal::leaves_open},
    {"counters", map_in<&Pins::counters>, Writer::programs, Seal::leaves_open},
    {"budget", map_in<&Pins::budget>, Writer::programs, Seal::leaves_open},
    {"budgets", map_in<&Pins::budgets>, Writer::programs, Seal::leaves_open},
    {"records", map_in<&Pins::records>, Writer::reader, Seal::leaves_open},
    {"requests", map_in<&Pins::requests>, Writer::reader, Seal::leaves_open},
}};

/// Where the guard's pins are, and where a new set is made.
[[nodiscard]] std::filesystem::path pin_directory();
[[nodiscard]] std::filesystem::path new_pin_directory();

/// Fails with a hint if bpffs is not mounted where pins go.
[[nodiscard]] sys::Result<void> require_bpffs();
/// Mounts it there if that was not done. Takes CAP_SYS_ADMIN.
[[nodiscard]] sys::Result<void> mount_bpffs();

/// Opens all pins of `directory`. Fails if it is not there (not_found), or not whole; of the programs of a
/// seal those are opened that there are.
[[nodiscard]] sys::Result<Pins> open_pins(const std::filesystem::path& directory);

/// Opens the programs of `part`, as far as they are not open: those of the seal may be new.
[[nodiscard]] sys::Result<void> open_programs(Pins& pins, Part part);

/// Pins again, as far as it is open, whatever has lost its pin. True if there was something to do.
[[nodiscard]] sys::Result<bool> restore_pins(Pins& pins);

/// Attaches the program of `hook` if it is not attached, and pins the link if its pin is not there or
/// another. True if there was something to do.
[[nodiscard]] sys::Result<bool> attach(Pins& pins, std::string_view hook);

/// The settings, which are one entry.
[[nodiscard]] sys::Result<guard_settings> settings_of(const Pins& pins);

/// Gives the new set the name of the old one, which goes.
[[nodiscard]] sys::Result<void> replace_pins(Pins& fresh);

/// Removes a directory of pins. Nothing there is fine. Links that no process has open end with it.
[[nodiscard]] sys::Result<void> remove_pins(const std::filesystem::path& directory);

/// The inode of the directory, and its device as the kernel itself numbers it.
struct DirectoryIdentity {
    std::uint64_t device = 0;
    std::uint64_t inode = 0;
};
[[nodiscard]] sys::Result<DirectoryIdentity> identity_of_directory(const std::filesystem::path& directory);

} // namespace kmodguard::kernel
