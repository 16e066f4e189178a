// SPDX-License-Identifier: AGPL-3.0-only
#include "enforce/kernel/seal.hpp"

#include "enforce/kernel/guard.hpp"
#include "enforce/kernel/pinned.hpp"
#include "enforce/kernel/programs.hpp"
#include "enforce/kernel/table_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cstring>
#include <ranges>

namespace kmodguard::kernel {
namespace {

auto closed_maps() {
    return map_table | std::views::filter([](const MapRow& row) { return row.seal == Seal::closes; });
}

/// What the maps of `pins` are to be protected by.
sys::Result<guard_settings> settings_to_seal(const Pins& pins, const Table& table) {
    auto settings = TRY(settings_of(pins));
    const auto hash = TRY(hash_of(table));
    std::memcpy(settings.table, hash.data(), hash.size());
    const auto directory = TRY(identity_of_directory(pins.directory));
    settings.pin_directory_device = directory.device;
    settings.pin_directory_inode = directory.inode;
    settings.settings_map = TRY(pins.settings.id());
    return settings;
}

/// Loads the seal's programs and attaches them. Until the settings say that the machine is sealed they are
/// idle.
sys::Result<void> attach_seal(Pins& pins) {
    const auto mechanism = TRY(mechanism_of(pins));
    for (const ProgramRow& row : hooks_of(Part::sealing)) // of an attempt that failed
        ::unlink((pins.directory / link_pin(row.name)).c_str());
    TRY(load_sealing_programs(mechanism, pins.directory));
    TRY(open_programs(pins, Part::sealing));
    for (const Part part : {Part::guarding, Part::sealing})
        for (const ProgramRow& row : hooks_of(part))
            TRY(attach(pins, row.name));
    return {};
}

/// Has the program of the hook of opened files note where the pins are mounted: for that it must be attached,
/// and know their directory.
sys::Result<guard_settings> note_mounts(const Pins& pins, const guard_settings& settings) {
    TRY(pins.settings.set(0, settings));
    const sys::UniqueFd directory(::open(pins.directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!directory) return sys::system_failure("cannot open", pins.directory.native());
    const auto noted = TRY(settings_of(pins));
    if (noted.mounts_are_known == 0)
        return sys::failure(sys::ErrorKind::failed,
                            fmt::format("{} lies below more than {} mounts, which cannot all be kept",
                                        pins.directory.native(), GUARD_MOUNTS - 1),
                            "mount bpffs where fewer are above it");
    return noted;
}

sys::Result<void> protect(Pins& pins) {
    for (const MapRow& row : closed_maps()) {
        const auto id = TRY(row.in(pins).id());
        TRY(pins.protected_maps.set(id, 1));
    }
    return {};
}

} // namespace

sys::Result<void> seal(const std::filesystem::path& sealed_table) {
    auto pins = TRY(open_pins(pin_directory()));
    if (pins.sealed) return {};
    const auto table = TRY(read_table(pins));
    const auto settings = TRY(settings_to_seal(pins, table));
    if ((head_of(table).flags & GUARD_AUDIT) != 0)
        return sys::failure(sys::ErrorKind::failed,
                            "in audit mode nothing is refused, so there is nothing to seal",
                            "kmodctl mode enforce");
    // The programs of the seal are loaded now, and must be of one build with the maps that they use.
    const bool this_build = TRY(is_this_build(pins));
    if (!this_build)
        return sys::failure(sys::ErrorKind::failed,
                            "the kernel point was loaded by another version of kmodguard than this one",
                            "restart the daemon, which loads its own; then seal");
    TRY(save_table(sealed_table, table));
    // First what can fail and be done without.
    TRY(attach_seal(pins));
    auto noted = TRY(note_mounts(pins, settings));
    noted.sealed = 1;
    TRY(protect(pins));
    TRY(pins.settings.set(0, noted));
    for (const MapRow& row : closed_maps())
        TRY(row.in(pins).freeze());
    return {};
}

sys::Result<std::vector<std::uint32_t>> maps_to_seal() {
    auto pins = TRY(open_pins(pin_directory()));
    std::vector<std::uint32_t> ids;
    for (const MapRow& row : closed_maps()) {
        const auto id = TRY(row.in(pins).id());
        ids.push_back(id);
    }
    return ids;
}

} // namespace kmodguard::kernel
