// SPDX-License-Identifier: AGPL-3.0-only
#include "enforce/kernel/pins.hpp"

#include "enforce/kernel/programs.hpp"

#include <bpf/bpf.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

namespace kmodguard::kernel {
namespace {

constexpr const char* bpffs = "/sys/fs/bpf";

bool is_bpffs() {
    struct statfs status{};
    return ::statfs(bpffs, &status) == 0 && static_cast<std::uint32_t>(status.f_type) == BPF_FS_MAGIC;
}

template <typename MapType>
sys::Result<void> open_into(MapType& map, const std::filesystem::path& directory, std::string_view name) {
    auto opened = RawMap::open(directory / map_pin(name));
    if (!opened) return std::unexpected(opened.error());
    map = MapType(std::move(*opened));
    return {};
}

/// Those that nobody gets a descriptor of once the machine is sealed.
sys::Result<void> open_protected_maps(Pins& pins) {
    const auto& directory = pins.directory;
    auto done = open_into(pins.settings, directory, "settings");
    // Root is refused this one for that reason only.
    pins.sealed = !done && done.error().kind == sys::ErrorKind::denied;
    if (pins.sealed) return {};
    if (done) done = open_into(pins.policy, directory, "policy");
    if (done) done = open_into(pins.policy_a, directory, "policy_a");
    if (done) done = open_into(pins.policy_b, directory, "policy_b");
    if (done) done = open_into(pins.inventory, directory, "inventory");
    if (done) done = open_into(pins.content_key, directory, "content_key");
    if (done) done = open_into(pins.tightened, directory, "tightened");
    if (done) done = open_into(pins.protected_maps, directory, "protected_maps");
    if (done) done = open_into(pins.scratch, directory, "scratch");
    if (done) done = open_into(pins.empty_scratch, directory, "empty_scratch");
    return done;
}

sys::Result<void> open_maps(Pins& pins) {
    const auto& directory = pins.directory;
    auto done = open_protected_maps(pins);
    if (done) done = open_into(pins.refused_tokens, directory, "refused_tokens");
    if (done) done = open_into(pins.state, directory, "state");
    if (done) done = open_into(pins.counters, directory, "counters");
    if (done) done = open_into(pins.records, directory, "records");
    if (done) done = open_into(pins.requests, directory, "requests");
    if (done) done = open_into(pins.repeats, directory, "repeats");
    return done;
}

/// The link that is pinned for `hook`, whoever attached it, if it is of our program. False if there is none.
bool open_link(Pins& pins, std::string_view hook) {
    sys::UniqueFd link(::bpf_obj_get((pins.directory / link_pin(hook)).c_str()));
    const auto program = pins.programs.find(hook);
    bpf_link_info info{};
    bpf_prog_info program_info{};
    std::uint32_t size = sizeof info;
    std::uint32_t program_size = sizeof program_info;
    if (!link || program == pins.programs.end() || ::bpf_obj_get_info_by_fd(link.get(), &info, &size) != 0
        || ::bpf_obj_get_info_by_fd(program->second.get(), &program_info, &program_size) != 0
        || info.prog_id != program_info.id)
        return false;
    pins.links.insert_or_assign(std::string(hook), std::move(link));
    return true;
}

sys::Result<void> open_program(Pins& pins, std::string_view hook) {
    const auto path = pins.directory / program_pin(hook);
    sys::UniqueFd fd(::bpf_obj_get(path.c_str()));
    if (!fd) return sys::system_failure("cannot open the pinned program", path.native());
    pins.programs.insert_or_assign(std::string(hook), std::move(fd));
    open_link(pins, hook);
    return {};
}

std::optional<std::uint32_t> link_id(const sys::UniqueFd& link) {
    bpf_link_info info{};
    std::uint32_t size = sizeof info;
    if (::bpf_obj_get_info_by_fd(link.get(), &info, &size) != 0) return std::nullopt;
    return info.id;
}

/// Whether the pin at `path` is that very link.
bool is_pinned(const sys::UniqueFd& link, const std::filesystem::path& path) {
    const sys::UniqueFd pinned(::bpf_obj_get(path.c_str()));
    return pinned && link_id(pinned) && link_id(pinned) == link_id(link);
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

sys::Result<Pins> open_pins(const std::filesystem::path& directory) {
    if (::access(directory.c_str(), F_OK) != 0)
        return sys::system_failure("cannot open the pins below", directory.native());
    Pins pins;
    pins.directory = directory;
    if (auto opened = open_maps(pins); !opened) return std::unexpected(std::move(opened.error()));
    for (const std::string_view hook : guarding_hooks())
        if (auto opened = open_program(pins, hook); !opened)
            return std::unexpected(std::move(opened.error()));
    if (pins.sealed)
        if (auto opened = open_sealing_programs(pins); !opened)
            return std::unexpected(std::move(opened.error()));
    return pins;
}

sys::Result<void> open_sealing_programs(Pins& pins) {
    std::vector<std::string_view> names = sealing_hooks();
    names.push_back(tightening_program);
    for (const std::string_view name : names)
        if (!pins.programs.contains(name))
            if (auto opened = open_program(pins, name); !opened) return opened;
    return {};
}

sys::Result<bool> restore_pins(Pins& pins) {
    if (auto there = require_bpffs(); !there) return std::unexpected(there.error());
    bool changed = ::mkdir(pins.directory.c_str(), S_IRWXU) == 0;
    const auto restore = [&](int fd, const std::string& name) {
        const auto path = pins.directory / name;
        if (fd >= 0 && ::access(path.c_str(), F_OK) != 0)
            changed = ::bpf_obj_pin(fd, path.c_str()) == 0 || changed;
    };
    for (const RawMap* map :
         {static_cast<const RawMap*>(&pins.settings), static_cast<const RawMap*>(&pins.policy),
          static_cast<const RawMap*>(&pins.policy_a), static_cast<const RawMap*>(&pins.policy_b),
          static_cast<const RawMap*>(&pins.inventory), static_cast<const RawMap*>(&pins.content_key),
          static_cast<const RawMap*>(&pins.refused_tokens), static_cast<const RawMap*>(&pins.tightened),
          static_cast<const RawMap*>(&pins.state), static_cast<const RawMap*>(&pins.counters),
          static_cast<const RawMap*>(&pins.records), static_cast<const RawMap*>(&pins.requests),
          static_cast<const RawMap*>(&pins.repeats), static_cast<const RawMap*>(&pins.protected_maps),
          static_cast<const RawMap*>(&pins.scratch), static_cast<const RawMap*>(&pins.empty_scratch)})
        restore(map->fd(), map->name());
    for (const auto& [hook, program] : pins.programs)
        restore(program.get(), program_pin(hook));
    return changed;
}

sys::Result<bool> attach(Pins& pins, std::string_view hook) {
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

sys::Result<guard_settings> settings_of(const Pins& pins) {
    const auto settings = pins.settings.get(0);
    if (!settings) return std::unexpected(settings.error());
    return settings->value_or(guard_settings{});
}

sys::Result<void> replace_pins(Pins& fresh) {
    if (auto removed = remove_pins(pin_directory()); !removed) return removed;
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

sys::Result<DirectoryIdentity> identity_of_directory(const std::filesystem::path& directory) {
    struct stat status{};
    if (::stat(directory.c_str(), &status) != 0)
        return sys::system_failure("cannot inspect", directory.native());
    // The kernel's dev_t has 20 bits of minor number (include/linux/kdev_t.h).
    constexpr unsigned minor_bits = 20;
    return DirectoryIdentity{(std::uint64_t{major(status.st_dev)} << minor_bits) | minor(status.st_dev),
                             status.st_ino};
}

} // namespace kmodguard::kernel
