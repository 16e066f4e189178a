// SPDX-License-Identifier: AGPL-3.0-only
//
// The process that made an attempt, as far as a point can see it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace kmodguard::events {

/// The process that wanted the module. The autoload point alone cannot know: there a thread of the kernel
/// asks, on behalf of a process that it does not name; the kernel point sees which one made it ask.
struct Requester {
    pid_t pid = 0;                    ///< in the initial namespace; of a guest, in the guest
    std::optional<uid_t> uid = {};    ///< in the initial user namespace; none of a guest or a kernel thread
    std::uint32_t user_namespace = 0; ///< inode number; 0: not known
    bool kernel_thread = false;       ///< of no process: it asks on behalf of one that it does not name
    std::string command = {};
    std::string executable = {}; ///< as its mount namespace has it; ".../" where the beginning is missing
    std::string cgroup = {};
    std::string container = {}; ///< its id; "" if the cgroup names none
};

/// The container's id in a cgroup path, as docker, podman, containerd, CRI-O and LXC name them; "" if none,
/// or if a process in it may have named it: below a user's own cgroups, a service's that is no container
/// engine, another container's, or where the beginning of the path is missing.
[[nodiscard]] std::string container_of_cgroup(std::string_view cgroup);

/// By container or user, for whose attempts room is kept: "container 0123", "user 1000"; "" where that is not
/// known.
[[nodiscard]] std::string originator_of(const std::optional<Requester>& by);

/// For people, one printable line: "sh[42], uid 1000".
[[nodiscard]] std::string describe(const Requester& by);

} // namespace kmodguard::events
