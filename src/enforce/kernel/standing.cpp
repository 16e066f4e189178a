// SPDX-License-Identifier: AGPL-3.0-only
//
// What can be seen and done without a daemon.
#include "enforce/kernel/guard.hpp"
#include "enforce/kernel/programs.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <unistd.h>

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

std::string mechanism_of(const Pins& pins) {
    const auto program = pins.programs.find("kernel_post_read_file");
    bpf_prog_info info{};
    std::uint32_t size = sizeof info;
    if (program == pins.programs.end() || ::bpf_obj_get_info_by_fd(program->second.get(), &info, &size) != 0)
        return "";
    return std::string(to_string(info.type == BPF_PROG_TYPE_LSM ? Mechanism::lsm : Mechanism::fmod_ret));
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
    for (const std::string_view hook : guarding_hooks())
        if (const auto program = pins.programs.find(hook); program != pins.programs.end())
            counters.skipped += skipped_runs(program->second);
    return counters;
}

Standing standing() {
    Standing found;
    found.present = ::access(pin_directory().c_str(), F_OK) == 0;
    if (!found.present) return found;
    const auto pins = open_pins(pin_directory());
    if (!pins) return found;
    found.whole = true;
    for (const std::string_view hook : guarding_hooks())
        found.whole = found.whole && pins->links.contains(hook);
    if (const auto settings = settings_of(*pins)) found.sealed = settings->sealed != 0;
    if (const auto table = read_table(*pins)) {
        found.generation = head_of(*table).number;
        found.audit = (head_of(*table).flags & GUARD_AUDIT) != 0;
    }
    found.mechanism = mechanism_of(*pins);
    found.counters = read_counters(*pins);
    return found;
}

sys::Result<void> seal_guard() {
    auto pins = open_pins(pin_directory());
    if (!pins) return std::unexpected(pins.error());
    auto settings = settings_of(*pins);
    const auto table = read_table(*pins);
    const auto key_map = pins->content_key.id();
    const auto directory = identity_of_directory(pins->directory);
    if (!settings) return std::unexpected(settings.error());
    if (settings->sealed != 0) return {};
    if (!table) return std::unexpected(table.error());
    if (!key_map) return std::unexpected(key_map.error());
    if (!directory) return std::unexpected(directory.error());
    if ((head_of(*table).flags & GUARD_AUDIT) != 0)
        return sys::failure(sys::ErrorKind::failed,
                            "in audit mode nothing is refused, so there is nothing to seal",
                            "kmodctl mode enforce");
    // First what can fail and be done without: the programs are attached, and idle until the settings say so.
    for (const auto* hooks : {&guarding_hooks(), &sealing_hooks()})
        for (const std::string_view hook : *hooks)
            if (const auto attached = attach(*pins, hook); !attached)
                return std::unexpected(attached.error());
    settings->sealed = 1;
    settings->key_map = *key_map;
    settings->pin_directory_device = directory->device;
    settings->pin_directory_inode = directory->inode;
    auto done = pins->settings.set(0, *settings);
    for (const RawMap* map :
         {static_cast<const RawMap*>(&pins->settings), static_cast<const RawMap*>(&pins->policy),
          static_cast<const RawMap*>(&pins->policy_a), static_cast<const RawMap*>(&pins->policy_b),
          static_cast<const RawMap*>(&pins->inventory)})
        if (done) done = map->freeze();
    return done;
}

sys::Result<void> remove_guard() {
    if (const auto pins = open_pins(pin_directory())) {
        const auto settings = settings_of(*pins);
        if (settings && settings->sealed != 0)
            return sys::failure(sys::ErrorKind::denied,
                                "the machine is sealed: the kernel point stays until it restarts");
    }
    if (auto removed = remove_pins(new_pin_directory()); !removed) return removed;
    return remove_pins(pin_directory());
}

} // namespace kmodguard::kernel
