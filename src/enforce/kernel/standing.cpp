// SPDX-License-Identifier: AGPL-3.0-only
//
// What can be seen and done without a daemon.
#include "enforce/kernel/guard.hpp"
#include "enforce/kernel/programs.hpp"
#include "enforce/kernel/table_file.hpp"
#include "sys/boot_clock.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <vector>

namespace kmodguard::kernel {
namespace {

/// Runs of a program that the kernel left out, since it was running on that processor already.
std::uint64_t skipped_runs(const sys::UniqueFd& program) {
    bpf_prog_info info{};
    std::uint32_t size = sizeof info;
    return ::bpf_obj_get_info_by_fd(program.get(), &info, &size) == 0 ? info.recursion_misses : 0;
}

std::uint64_t sum_of(const RawMap& counters, std::uint32_t which, std::size_t processors) {
    std::vector<std::uint64_t> values(processors);
    if (::bpf_map_lookup_elem(counters.fd(), &which, values.data()) != 0) return 0;
    std::uint64_t sum = 0;
    for (const std::uint64_t value : values)
        sum += value;
    return sum;
}

sys::Result<Mechanism> mechanism_of(const Pins& pins) {
    constexpr std::string_view hook = "kernel_post_read_file"; // one that has programs of both kinds
    const auto program = pins.programs.find(hook);
    bpf_prog_info info{};
    std::uint32_t size = sizeof info;
    if (program == pins.programs.end() || ::bpf_obj_get_info_by_fd(program->second.get(), &info, &size) != 0)
        return sys::system_failure("cannot tell the kind of the program of", hook);
    return info.type == BPF_PROG_TYPE_LSM ? Mechanism::lsm : Mechanism::fmod_ret;
}

} // namespace

Counters read_counters(const Pins& pins) {
    const int processors = libbpf_num_possible_cpus();
    if (processors <= 0) return {};
    const auto sum = [&](guard_counter which) {
        return sum_of(pins.counters, which, static_cast<std::size_t>(processors));
    };
    Counters counters{.allowed = sum(GUARD_ALLOWED),
                      .refused = sum(GUARD_REFUSED),
                      .audited = sum(GUARD_AUDITED),
                      .requests = sum(GUARD_REQUESTS),
                      .remembered = sum(GUARD_REMEMBERED),
                      .lost = sum(GUARD_LOST)};
    for (const std::string_view hook : guarding_hooks()) {
        if (hook == "kernel_module_request") continue; // without it, the request is judged by way of the hook
        if (const auto program = pins.programs.find(hook); program != pins.programs.end())
            counters.skipped += skipped_runs(program->second);
    }
    return counters;
}

namespace {

/// The programs of the seal are loaded when it is made, and must be of one build with the maps that they use.
sys::Result<void> require_this_build(const Pins& pins) {
    const auto settings = settings_of(pins);
    if (!settings) return std::unexpected(settings.error());
    const auto hash = programs_hash();
    if (!hash) return std::unexpected(hash.error());
    if (settings->layout == GUARD_LAYOUT && std::ranges::equal(*hash, settings->object)) return {};
    return sys::failure(sys::ErrorKind::failed,
                        "the kernel point was loaded by another version of kmodguard than this one",
                        "start the daemon anew, which loads its own; then seal");
}

} // namespace

Standing standing() {
    Standing found;
    found.present = ::access(pin_directory().c_str(), F_OK) == 0;
    if (!found.present) return found;
    const auto pins = open_pins(pin_directory());
    if (!pins) return found;
    found.whole = true;
    for (const std::string_view hook : guarding_hooks())
        found.whole = found.whole && pins->links.contains(hook);
    found.this_build = pins->sealed || require_this_build(*pins);
    found.sealed = pins->sealed; // its table cannot be read any more, and is in enforce mode
    if (const auto table = pins->sealed ? sys::Result<Table>() : read_table(*pins)) {
        found.generation = head_of(*table).number;
        found.audit =
            audits(head_of(*table),
                   std::chrono::floor<std::chrono::seconds>(sys::BootClock::now().time_since_epoch()));
    }
    if (const auto mechanism = mechanism_of(*pins)) found.mechanism = to_string(*mechanism);
    found.counters = read_counters(*pins);
    return found;
}

namespace {

/// What the maps of `pins` are to be protected by.
sys::Result<guard_settings> settings_to_seal(const Pins& pins) {
    auto settings = settings_of(pins);
    if (!settings) return settings;
    const auto directory = identity_of_directory(pins.directory);
    if (!directory) return std::unexpected(directory.error());
    settings->pin_directory_device = directory->device;
    settings->pin_directory_inode = directory->inode;
    const auto id = pins.settings.id();
    if (!id) return std::unexpected(id.error());
    settings->settings_map = *id;
    return settings;
}

/// Loads the seal's programs and attaches them. Until the settings say that the machine is sealed they are
/// idle.
sys::Result<void> attach_seal(Pins& pins) {
    const auto mechanism = mechanism_of(pins);
    if (!mechanism) return std::unexpected(mechanism.error());
    for (const std::string_view hook : sealing_hooks()) // of an attempt that failed
        ::unlink((pins.directory / link_pin(hook)).c_str());
    if (auto loaded = load_sealing_programs(*mechanism, pins.directory); !loaded) return loaded;
    if (auto opened = open_sealing_programs(pins); !opened) return opened;
    for (const auto* hooks : {&guarding_hooks(), &sealing_hooks()})
        for (const std::string_view hook : *hooks)
            if (const auto attached = attach(pins, hook); !attached) return std::unexpected(attached.error());
    return {};
}

/// Has the program of the hook of opened files note where the pins are mounted: for that it must be attached,
/// and know their directory.
sys::Result<guard_settings> note_mounts(const Pins& pins, const guard_settings& settings) {
    if (auto set = pins.settings.set(0, settings); !set) return std::unexpected(set.error());
    const sys::UniqueFd directory(::open(pins.directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!directory) return sys::system_failure("cannot open", pins.directory.native());
    auto noted = settings_of(pins);
    if (noted && noted->mounts_are_known == 0)
        return sys::failure(sys::ErrorKind::failed,
                            fmt::format("{} lies below more than {} mounts, which cannot all be kept",
                                        pins.directory.native(), GUARD_MOUNTS - 1),
                            "mount bpffs where fewer are above it");
    return noted;
}

/// What the verdict depends on, and the key of contents.
std::vector<const RawMap*> maps_of_the_verdict(const Pins& pins) {
    return {&pins.settings,    &pins.policy,    &pins.policy_a,       &pins.policy_b, &pins.inventory,
            &pins.content_key, &pins.tightened, &pins.protected_maps, &pins.scratch,  &pins.empty_scratch};
}

sys::Result<void> protect(const std::vector<const RawMap*>& maps,
                          const Map<std::uint32_t, std::uint8_t>& protected_maps) {
    for (const RawMap* map : maps) {
        const auto id = map->id();
        if (!id) return std::unexpected(id.error());
        if (auto written = protected_maps.set(*id, 1); !written) return written;
    }
    return {};
}

} // namespace

sys::Result<void> seal_guard(const std::filesystem::path& sealed_table) {
    auto pins = open_pins(pin_directory());
    if (!pins) return std::unexpected(pins.error());
    if (pins->sealed) return {};
    const auto settings = settings_to_seal(*pins);
    const auto table = read_table(*pins);
    if (!settings) return std::unexpected(settings.error());
    if (!table) return std::unexpected(table.error());
    if ((head_of(*table).flags & GUARD_AUDIT) != 0)
        return sys::failure(sys::ErrorKind::failed,
                            "in audit mode nothing is refused, so there is nothing to seal",
                            "kmodctl mode enforce");
    if (auto same = require_this_build(*pins); !same) return same;
    if (auto saved = save_table(sealed_table, *table); !saved) return saved;
    // First what can fail and be done without.
    if (auto attached = attach_seal(*pins); !attached) return attached;
    auto noted = note_mounts(*pins, *settings);
    if (!noted) return std::unexpected(noted.error());
    noted->sealed = 1;
    auto done = protect(maps_of_the_verdict(*pins), pins->protected_maps);
    if (done) done = pins->settings.set(0, *noted);
    for (const RawMap* map : maps_of_the_verdict(*pins))
        if (done) done = map->freeze();
    return done;
}

sys::Result<std::vector<std::uint32_t>> maps_to_seal() {
    const auto pins = open_pins(pin_directory());
    if (!pins) return std::unexpected(pins.error());
    std::vector<std::uint32_t> ids;
    for (const RawMap* map : maps_of_the_verdict(*pins)) {
        const auto id = map->id();
        if (!id) return std::unexpected(id.error());
        ids.push_back(*id);
    }
    return ids;
}

sys::Result<void> remove_guard() {
    if (const auto pins = open_pins(pin_directory())) {
        if (pins->sealed)
            return sys::failure(sys::ErrorKind::denied,
                                "the machine is sealed: the kernel point stays until it restarts");
    }
    if (auto removed = remove_pins(new_pin_directory()); !removed) return removed;
    return remove_pins(pin_directory());
}

} // namespace kmodguard::kernel
