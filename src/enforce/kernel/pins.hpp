// SPDX-License-Identifier: AGPL-3.0-only
//
// What keeps the guard in the kernel while no process of ours runs: pins in bpffs, one directory for all. A
// new set is made beside the old one and takes its name when it is whole and guards, so there is no moment
// without.
#pragma once

#include "enforce/kernel/layout.hpp"
#include "enforce/kernel/map.hpp"
#include "enforce/kernel/support.hpp"
#include "sys/result.hpp"

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
    RawMap records;
    RawMap requests;
    Map<guard_refusal, guard_repeats> repeats;
    Map<std::uint32_t, std::uint8_t> protected_maps;
    RawMap scratch;
    RawMap empty_scratch;
    bool sealed = false; ///< then settings, policies, inventory, key and what was taken away are not open
    /// By hook; those of the seal are there from the moment of sealing.
    std::map<std::string, sys::UniqueFd, std::less<>> programs;
    std::map<std::string, sys::UniqueFd, std::less<>> links; ///< by hook, of those that are attached
};

/// Where the guard's pins are, and where a new set is made.
[[nodiscard]] std::filesystem::path pin_directory();
[[nodiscard]] std::filesystem::path new_pin_directory();

/// Fails with a hint if bpffs is not mounted where pins go.
[[nodiscard]] sys::Result<void> require_bpffs();
/// Mounts it there if nobody has. Takes CAP_SYS_ADMIN.
[[nodiscard]] sys::Result<void> mount_bpffs();

/// Opens all pins of `directory`. Fails if it is not there (not_found), or not whole: the programs of the
/// seal must be there if it is sealed.
[[nodiscard]] sys::Result<Pins> open_pins(const std::filesystem::path& directory);

/// Opens what the seal has added to the pins meanwhile, as far as it is not open.
[[nodiscard]] sys::Result<void> open_sealing_programs(Pins& pins);

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
