// SPDX-License-Identifier: AGPL-3.0-only
#include "enforce/kernel/pinned.hpp"

#include "enforce/kernel/guard.hpp"
#include "enforce/kernel/loader.hpp"
#include "enforce/kernel/status.hpp"
#include "sys/kernel.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <ranges>

namespace kmodguard::kernel {
namespace {

bool is_attached(const OpenPins& pins) {
    return std::ranges::all_of(hooks_of(Part::guarding),
                               [&pins](const ProgramRow& row) { return pins.links.contains(row.name); });
}

/// Of pins that are all there.
Status status_of(const OpenPins& pins) {
    Status status{.state = State::unattended};
    status.sealed = pins.sealed; // its table cannot be read any more, and is in enforce mode
    status.this_build = pins.sealed || is_this_build(pins).value_or(false);
    if (const auto mechanism = mechanism_of(pins)) status.mechanism = *mechanism;
    status.counters = read_counters(pins);
    if (pins.sealed) return status;
    if (const auto table = read_table(pins)) {
        status.generation = head_of(*table).number;
        const auto now = sys::BootClock::now().time_since_epoch();
        status.audit = audits(head_of(*table), std::chrono::floor<std::chrono::seconds>(now));
    }
    if (status.audit) status.problem = Problem::audit;
    return status;
}

auto closed_maps() {
    return map_table | std::views::filter([](const MapRow& row) { return row.seal == Seal::closes; });
}

sys::Result<std::vector<std::uint32_t>> ids_of_closed_maps(OpenPins& pins) {
    std::vector<std::uint32_t> ids;
    for (const MapRow& row : closed_maps()) {
        const auto id = TRY(row.in(pins).id());
        ids.push_back(id);
    }
    return ids;
}

/// What the maps of `pins` are to be protected by.
sys::Result<guard_settings> settings_to_seal(const OpenPins& pins, const PolicyTable& table) {
    auto settings = TRY(settings_of(pins));
    const auto hash = TRY(hash_of(table));
    std::memcpy(settings.table, hash.data(), hash.size());
    struct stat status{};
    if (::stat(pins.directory.c_str(), &status) != 0)
        return sys::system_failure("cannot inspect", pins.directory.native());
    // The kernel's dev_t has 20 bits of minor number (include/linux/kdev_t.h).
    constexpr unsigned minor_bits = 20;
    settings.pin_directory_device =
        (std::uint64_t{major(status.st_dev)} << minor_bits) | minor(status.st_dev);
    settings.pin_directory_inode = status.st_ino;
    settings.settings_map = TRY(pins.settings.id());
    return settings;
}

/// Loads the seal's programs and attaches them. Until the settings say that the machine is sealed they are
/// idle.
sys::Result<void> attach_seal(OpenPins& pins) {
    const auto mechanism = TRY(mechanism_of(pins));
    for (const ProgramRow& row : hooks_of(Part::sealing)) // of an attempt that failed
        ::unlink((pins.directory / link_pin(row.name)).c_str());
    TRY(load_sealing_programs(mechanism));
    TRY(open_programs(pins, Part::sealing));
    for (const Part part : {Part::guarding, Part::sealing})
        for (const ProgramRow& row : hooks_of(part))
            TRY(attach(pins, row.name));
    return {};
}

/// Has the program of the hook of opened files note where the pins are mounted: for that it must be attached,
/// and know their directory.
sys::Result<guard_settings> note_mounts(const OpenPins& pins, const guard_settings& settings) {
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

} // namespace

Status pinned_status(const sys::Paths& paths) {
    Support support = inspect(paths);
    Status status{.problem = Problem::no_daemon};
    if (paths.moved()) {
        status.problem = Problem::other_root;
    } else if (::geteuid() != 0) {
        return {.state = State::unknown, .problem = Problem::not_root};
    } else if (::access(pin_directory().c_str(), F_OK) == 0) {
        const auto pins = open_pins(pin_directory());
        if (pins && is_attached(*pins))
            status = status_of(*pins);
        else
            status = {.problem = Problem::pins_missing, .sealed = pins && pins->sealed};
    }
    if (!status.is_enforced() && support.problem != Problem::none) status.problem = support.problem;
    status.notes = std::move(support.notes);
    return status;
}

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
    const auto ids = TRY(ids_of_closed_maps(pins));
    for (const std::uint32_t id : ids)
        TRY(pins.protected_maps.set(id, 1));
    TRY(pins.settings.set(0, noted));
    for (const MapRow& row : closed_maps())
        TRY(row.in(pins).freeze());
    return {};
}

sys::Result<std::vector<std::uint32_t>> ids_of_sealed_maps() {
    auto pins = TRY(open_pins(pin_directory()));
    return ids_of_closed_maps(pins);
}

} // namespace kmodguard::kernel
