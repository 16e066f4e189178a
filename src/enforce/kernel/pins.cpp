// SPDX-License-Identifier: AGPL-3.0-only
#include "enforce/kernel/pins.hpp"

#include <bpf/libbpf.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <numeric>
#include <vector>

namespace kmodguard::kernel {
namespace {

constexpr const char* bpffs = "/sys/fs/bpf";

bool is_bpffs() {
    struct statfs status{};
    return ::statfs(bpffs, &status) == 0 && static_cast<std::uint32_t>(status.f_type) == BPF_FS_MAGIC;
}

static_assert(map_table.front().name == "settings");
static_assert(std::ranges::count(map_table, Seal::closes, &MapRow::seal) <= GUARD_PROTECTED);

std::optional<bpf_prog_info> program_info(const OpenPins& pins, std::string_view name) {
    const auto program = pins.programs.find(name);
    return program == pins.programs.end() ? std::nullopt : info_of<bpf_prog_info>(program->second.get());
}

/// The first map that no process gets a descriptor of once the machine is sealed tells whether it is: root is
/// refused it for that reason only.
sys::Result<void> open_maps(OpenPins& pins) {
    for (const MapRow& row : map_table) {
        if (pins.sealed && row.seal == Seal::closes) continue;
        auto opened = RawMap::open(pins.directory / map_pin(row.name));
        if (!opened && &row == map_table.begin() && opened.error().kind == sys::ErrorKind::denied) {
            pins.sealed = true;
            continue;
        }
        row.in(pins) = TRY(std::move(opened));
    }
    return {};
}

/// The link that is pinned for `hook`, whichever process attached it, if it is of our program. Else false.
bool open_link(OpenPins& pins, std::string_view hook) {
    sys::UniqueFd link(::bpf_obj_get((pins.directory / link_pin(hook)).c_str()));
    const auto info = info_of<bpf_link_info>(link.get());
    const auto program = program_info(pins, hook);
    if (!info || !program || info->prog_id != program->id) return false;
    pins.links.insert_or_assign(std::string(hook), std::move(link));
    return true;
}

sys::Result<void> open_program(OpenPins& pins, std::string_view hook) {
    const auto path = pins.directory / program_pin(hook);
    sys::UniqueFd fd(::bpf_obj_get(path.c_str()));
    if (!fd) return sys::system_failure("cannot open the pinned program", path.native());
    pins.programs.insert_or_assign(std::string(hook), std::move(fd));
    open_link(pins, hook);
    return {};
}

/// Whether the pin at `path` is that very link.
bool is_pinned(const sys::UniqueFd& link, const std::filesystem::path& path) {
    const sys::UniqueFd pinned(::bpf_obj_get(path.c_str()));
    const auto at_path = info_of<bpf_link_info>(pinned.get());
    const auto wanted = info_of<bpf_link_info>(link.get());
    return at_path && wanted && at_path->id == wanted->id;
}

std::uint64_t sum_of(const RawMap& counters, std::uint32_t which, std::vector<std::uint64_t>& of_processors) {
    if (::bpf_map_lookup_elem(counters.fd(), &which, of_processors.data()) != 0) return 0;
    return std::accumulate(of_processors.begin(), of_processors.end(), std::uint64_t{0});
}

} // namespace

std::filesystem::path pin_directory() {
    return std::filesystem::path(bpffs) / "kmodguard";
}

std::filesystem::path new_pin_directory() { // bpffs takes no dots in names
    return std::filesystem::path(bpffs) / "kmodguard-new";
}

sys::Result<void> require_bpffs() {
    if (is_bpffs()) return {};
    return sys::failure(sys::ErrorKind::failed, fmt::format("bpffs is not mounted at {}", bpffs),
                        fmt::format("mount -t bpf bpf {}", bpffs));
}

sys::Result<void> mount_bpffs() {
    if (is_bpffs()) return {};
    if (::mount("bpf", bpffs, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700") != 0)
        return sys::system_failure("cannot mount bpffs at", bpffs);
    return {};
}

sys::Result<OpenPins> open_pins(const std::filesystem::path& directory) {
    if (::access(directory.c_str(), F_OK) != 0)
        return sys::system_failure("cannot open the pins below", directory.native());
    OpenPins pins;
    pins.directory = directory;
    TRY(open_maps(pins));
    TRY(open_programs(pins, Part::guarding));
    if (pins.sealed) // another version's seal may have fewer, and is a seal
        if (auto opened = open_programs(pins, Part::sealing);
            !opened && opened.error().kind != sys::ErrorKind::not_found)
            return std::unexpected(std::move(opened.error()));
    return pins;
}

sys::Result<void> open_programs(OpenPins& pins, Part part) {
    for (const ProgramRow& row : program_table)
        if (row.part == part && !pins.programs.contains(row.name)) TRY(open_program(pins, row.name));
    return {};
}

sys::Result<bool> restore_pins(OpenPins& pins) {
    TRY(require_bpffs());
    bool changed = ::mkdir(pins.directory.c_str(), S_IRWXU) == 0;
    const auto restore = [&](int fd, const std::string& name) {
        const auto path = pins.directory / name;
        if (fd >= 0 && ::access(path.c_str(), F_OK) != 0)
            changed = ::bpf_obj_pin(fd, path.c_str()) == 0 || changed;
    };
    for (const MapRow& row : map_table)
        restore(row.in(pins).fd(), map_pin(row.name));
    for (const auto& [hook, program] : pins.programs)
        restore(program.get(), program_pin(hook));
    return changed;
}

sys::Result<bool> attach(OpenPins& pins, std::string_view hook) {
    const auto path = pins.directory / link_pin(hook);
    auto link = pins.links.find(hook);
    const bool attached = link != pins.links.end();
    if (attached && is_pinned(link->second, path)) return false;
    if (!attached && open_link(pins, hook)) return false;
    if (!attached) {
        const auto program = pins.programs.find(hook);
        if (program == pins.programs.end())
            return sys::failure(sys::ErrorKind::failed,
                                fmt::format("the program of the hook {} is not loaded", hook));
        // How programs with a BTF target are attached (bpf(2), BPF_RAW_TRACEPOINT_OPEN without a name).
        sys::UniqueFd fd(::bpf_raw_tracepoint_open(nullptr, program->second.get()));
        if (!fd) return sys::system_failure("cannot attach the program of the hook", hook);
        link = pins.links.insert_or_assign(std::string(hook), std::move(fd)).first;
    }
    ::unlink(path.c_str()); // of another link, if there is one
    if (::bpf_obj_pin(link->second.get(), path.c_str()) != 0)
        return sys::system_failure("cannot pin", path.native());
    return true;
}

sys::Result<guard_settings> settings_of(const OpenPins& pins) {
    const auto settings = TRY(pins.settings.get(0));
    return settings.value_or(guard_settings{});
}

sys::Result<void> replace_pins(OpenPins& fresh) {
    TRY(remove_pins(pin_directory()));
    if (::rename(fresh.directory.c_str(), pin_directory().c_str()) != 0)
        return sys::system_failure("cannot rename", fresh.directory.native());
    fresh.directory = pin_directory();
    return {};
}

sys::Result<void> remove_pins(const std::filesystem::path& directory) {
    std::error_code error;
    std::filesystem::remove_all(directory, error);
    if (error) return sys::system_failure("cannot remove the pins below", directory.native(), error.value());
    return {};
}

sys::Result<void> remove_pinned() {
    if (const auto pins = open_pins(pin_directory()); pins && pins->sealed)
        return sys::failure(sys::ErrorKind::denied,
                            "the machine is sealed: the kernel point stays until it restarts");
    TRY(remove_pins(new_pin_directory()));
    return remove_pins(pin_directory());
}

Counters read_counters(const OpenPins& pins) {
    Counters counters;
    const int processors = ::libbpf_num_possible_cpus();
    if (processors <= 0) return counters;
    std::vector<std::uint64_t> of_processors(static_cast<std::size_t>(processors));
    for (const Counter& counter : counter_table)
        if (counter.index) counters.*counter.value = sum_of(pins.counters, *counter.index, of_processors);
    for (const ProgramRow& row : hooks_of(Part::guarding))
        if (row.kind != ProgramKind::request) // without that one, the request is judged by way of the hook
            if (const auto info = program_info(pins, row.name)) counters.skipped += info->recursion_misses;
    return counters;
}

sys::Result<Mechanism> mechanism_of(const OpenPins& pins) {
    constexpr std::string_view hook = "kernel_post_read_file"; // one that has programs of both kinds
    const auto info = program_info(pins, hook);
    if (!info) return sys::system_failure("cannot tell the kind of the program of", hook);
    return info->type == BPF_PROG_TYPE_LSM ? Mechanism::lsm : Mechanism::fmod_ret;
}

} // namespace kmodguard::kernel
