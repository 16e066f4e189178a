// SPDX-License-Identifier: AGPL-3.0-only
#include "enforce/kernel/pinned.hpp"

#include "enforce/kernel/guard.hpp"
#include "enforce/kernel/programs.hpp"
#include "enforce/kernel/support.hpp"
#include "sys/kernel.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <unistd.h>

#include <algorithm>
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

bool is_attached(const Pins& pins) {
    return std::ranges::all_of(hooks_of(Part::guarding),
                               [&pins](const ProgramRow& row) { return pins.links.contains(row.name); });
}

/// Of pins that are all there.
Status status_of(const Pins& pins) {
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

Counters read_counters(const Pins& pins) {
    Counters counters;
    const int processors = libbpf_num_possible_cpus();
    if (processors <= 0) return counters;
    for (const Counter& counter : counter_table)
        if (counter.index)
            counters.*counter.value =
                sum_of(pins.counters, *counter.index, static_cast<std::size_t>(processors));
    for (const ProgramRow& row : hooks_of(Part::guarding)) {
        if (row.kind == Kind::request) continue; // without it, the request is judged by way of the hook
        if (const auto program = pins.programs.find(row.name); program != pins.programs.end())
            counters.skipped += skipped_runs(program->second);
    }
    return counters;
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

sys::Result<void> remove_pinned() {
    if (const auto pins = open_pins(pin_directory()); pins && pins->sealed)
        return sys::failure(sys::ErrorKind::denied,
                            "the machine is sealed: the kernel point stays until it restarts");
    TRY(remove_pins(new_pin_directory()));
    return remove_pins(pin_directory());
}

} // namespace kmodguard::kernel
