// SPDX-License-Identifier: AGPL-3.0-only
#include "enforce/process/known_processes.hpp"

#include "enforce/process/proc_files.hpp"

#include <fcntl.h>
#include <linux/capability.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <span>
#include <utility>

namespace kmodguard::process {
namespace {

constexpr std::size_t max_cgroups = 16; ///< of which the path is remembered

sys::UniqueFd open_of(pid_t id, std::string_view entry, int flags) {
    return sys::UniqueFd(::open(proc_path(id, entry).c_str(), flags | O_CLOEXEC));
}

/// Whether any process still has the memory that /proc/PID/pagemap was opened of. Nothing is read: an odd
/// number of bytes is refused where there is memory, and before that none are given where there is none.
bool is_in_use(const sys::UniqueFd& memory) {
    char byte = 0;
    return ::pread(memory.get(), &byte, sizeof byte, 0) < 0 && errno == EINVAL;
}

std::optional<std::string> name_in(const sys::UniqueFd& comm) {
    std::array<char, 64> text{};
    const ssize_t size = ::pread(comm.get(), text.data(), text.size(), 0);
    if (size <= 0) return std::nullopt; // it has ended
    return name_as_in_status({text.data(), static_cast<std::size_t>(size)});
}

/// Its content; nothing if it cannot be read, or is too long for this.
std::optional<std::string_view> content_of(const sys::UniqueFd& file, std::span<char> into) {
    const ssize_t size = ::pread(file.get(), into.data(), into.size(), 0);
    if (size <= 0 || static_cast<std::size_t>(size) == into.size()) return std::nullopt;
    return std::string_view(into.data(), static_cast<std::size_t>(size));
}

bool may_change_user(const Capabilities& capabilities) {
    return (capabilities.permitted & (std::uint64_t{1} << CAP_SETUID)) != 0;
}

} // namespace

KnownProcesses::KnownProcesses(std::size_t max)
    : max_(max), own_namespace_(user_namespace_of(::getpid())),
      own_descriptors_(::open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC)) {}

Look KnownProcesses::look(pid_t thread) {
    const auto as_found = [&](Process known) {
        Look look{.caller =
                      Caller(thread, {.process = &known->process, .own_descriptors = &own_descriptors_}),
                  .requester = known->requester,
                  .has_capability = known->capabilities.has_module(),
                  .process = nullptr};
        look.process = std::move(known);
        return look;
    };
    const Caller caller(thread);
    const bool has_called_before = has_called(thread);
    if (Process known = take(thread); known && refresh(*known, caller)) return as_found(std::move(known));
    if (Process known = look_anew(caller, thread, has_called_before)) return as_found(std::move(known));
    return {.caller = Caller(thread, {.process = nullptr, .own_descriptors = &own_descriptors_}),
            .requester = caller.requester(),
            .has_capability = caller.has_capability()};
}

void KnownProcesses::keep(const Look& look) {
    if (!look.process) return;
    const std::scoped_lock lock(mutex_);
    if (!look.process->name) {
        called_.at(next_called_++ % called_.size()) = look.process->id;
        return;
    }
    std::erase_if(known_, [&](const Process& other) { return other->id == look.process->id; });
    known_.push_back(look.process);
    if (known_.size() > max_) known_.erase(known_.begin());
}

/// None if it is not known, or just being looked at.
KnownProcesses::Process KnownProcesses::take(pid_t id) {
    const std::scoped_lock lock(mutex_);
    const auto found = std::ranges::find(known_, id, [](const Process& known) { return known->id; });
    if (found == known_.end()) return nullptr;
    Process known = std::move(*found);
    known_.erase(found);
    return known;
}

/// Another process may have had the number: it only decides whether files are kept open.
bool KnownProcesses::has_called(pid_t id) {
    const std::scoped_lock lock(mutex_);
    return max_ != 0 && std::ranges::find(called_, id) != called_.end();
}

/// None: it is no process's first thread, or cannot be looked at in this way.
KnownProcesses::Process KnownProcesses::look_anew(const Caller& caller, pid_t id, bool keep_open) {
    auto known = std::make_shared<KnownProcess>();
    known->id = id;
    known->process = sys::UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, id, 0)));
    const auto capabilities = caller.capabilities();
    if (!known->process || !capabilities) return nullptr;
    known->capabilities = *capabilities;
    // Before the executable is read: an execve in between would otherwise go unnoticed.
    if (keep_open) known->memory = open_of(id, "pagemap", O_RDONLY);
    if (known->memory && is_in_use(known->memory)) {
        known->namespaces = open_of(id, "ns", O_RDONLY | O_DIRECTORY);
        known->cgroup = open_of(id, "cgroup", O_RDONLY);
        if (known->namespaces && known->cgroup) known->name = open_of(id, "comm", O_RDONLY);
    }
    events::Requester& requester = known->requester;
    requester.pid = id;
    requester.user_namespace = user_namespace_of(id);
    const auto info = info_of(*known);
    const auto user = user_of(*known, info, false);
    if (!user) return nullptr;
    requester.uid = user->id;
    known->ids_are_fixed = user->fixed;
    auto name = user->name;
    if (!name) name = known->name ? name_in(known->name) : name_in(open_of(id, "comm", O_RDONLY));
    if (!name) return nullptr;
    requester.command = *name;
    requester.executable = link_target(proc_path(id, "exe"));
    set_cgroup(*known, info);
    return known;
}

/// False: it has to be looked at anew.
bool KnownProcesses::refresh(KnownProcess& known, const Caller& caller) {
    const auto name = name_in(known.name);
    if (!name || *name != known.requester.command || !is_in_use(known.memory)) return false;
    const auto capabilities = caller.capabilities();
    const std::uint32_t name_space = user_namespace_in(known.namespaces);
    if (!capabilities || name_space == 0) return false;
    const bool unchanged =
        *capabilities == known.capabilities && name_space == known.requester.user_namespace;
    known.capabilities = *capabilities;
    known.requester.user_namespace = name_space;
    const auto info = info_of(known);
    const auto user = user_of(known, info, unchanged);
    if (!user) return false;
    known.requester.uid = user->id;
    known.ids_are_fixed = user->fixed;
    set_cgroup(known, info);
    return true;
}

/// `unchanged`: its capabilities and user namespace are what they were when it was looked at last.
std::optional<KnownProcesses::User> KnownProcesses::user_of(const KnownProcess& known,
                                                            const std::optional<ProcessInfo>& info,
                                                            bool unchanged) const {
    const std::uint32_t name_space = known.requester.user_namespace;
    if (info) return User{.id = info->user};
    if (unchanged && known.ids_are_fixed) return User{.id = known.requester.uid.value_or(0), .fixed = true};
    if (name_space != 0 && name_space == own_namespace_ && own_ids_.has(known.id))
        return User{.id = ::getuid()};
    const auto status = status_of(known.id);
    if (!status) return std::nullopt;
    return User{.id = status->user,
                .fixed = status->has_one_user && !may_change_user(known.capabilities),
                .name = status->name};
}

std::optional<ProcessInfo> KnownProcesses::info_of(const KnownProcess& known) {
    if (!has_info_) return std::nullopt;
    auto info = process::info_of(known.process);
    if (!info && (errno == ENOTTY || errno == EINVAL)) has_info_ = false;
    return info;
}

/// A cgroup keeps its path and its number as long as there is a process in it.
void KnownProcesses::set_cgroup(KnownProcess& known, const std::optional<ProcessInfo>& info) {
    const std::uint64_t id = info ? info->cgroup_id : 0;
    if (id != 0 && id == known.cgroup_id) return;
    known.cgroup_id = id;
    events::Requester& requester = known.requester;
    if (id != 0) {
        const std::scoped_lock lock(mutex_);
        if (const auto of = std::ranges::find(cgroups_, id, &Cgroup::id); of != cgroups_.end()) {
            requester.cgroup = of->path;
            requester.container = of->container;
            return;
        }
    }
    std::array<char, 4096> memory; // NOLINT(cppcoreguidelines-pro-type-member-init): pread() fills it
    const auto part = known.cgroup ? content_of(known.cgroup, memory)
                                   : content_of(open_of(known.id, "cgroup", O_RDONLY), memory);
    const std::string whole = part ? "" : read_proc(known.id, "cgroup"); // one too long for this
    const std::string_view path = field(part ? *part : whole, "0::");    // the one hierarchy of version 2
    if (path != requester.cgroup) {
        requester.cgroup = path;
        requester.container = events::container_of_cgroup(path);
    }
    // It may have been moved meanwhile, and what could not be read is not remembered.
    const auto after = id != 0 && !path.empty() ? info_of(known) : std::nullopt;
    if (!after || after->cgroup_id != id) {
        known.cgroup_id = 0;
        return;
    }
    const std::scoped_lock lock(mutex_);
    if (cgroups_.size() >= max_cgroups) cgroups_.erase(cgroups_.begin());
    cgroups_.push_back({.id = id, .path = requester.cgroup, .container = requester.container});
}

} // namespace kmodguard::process
