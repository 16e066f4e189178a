// SPDX-License-Identifier: AGPL-3.0-only
//
// Who calls. To find that out takes several files of /proc, each dearer than the call itself; so a process
// that calls again is known. What may have changed between two calls is read again: its capabilities, user
// namespace, user, cgroup and name. What is kept, the executable, stays until an execve, and is looked at
// again after one. The result is what Caller::requester() says, which reads all of it each time.
//
// - That it is the same process, and not another of its number, the open files of /proc tell: they are of the
//   process and not of the number, and give nothing when it has ended.
// - An execve is noticed by the memory that it leaves: a file of /proc/PID that was opened before belongs to
//   the memory of before, and can tell that no process has that any more. It cannot where two processes share
//   one memory and are not threads; there, a new name tells, which an execve gives. The path of an executable
//   is as it was when the process was first looked at.
// - The user is asked of the pidfd (Linux 6.13). Before, it is proved to be kmodctl's own; or it cannot have
//   changed, for want of CAP_SETUID; else /proc/PID/status is read, half of what a whole look takes.
//
// Only the first thread of a process is ever known: before Linux 6.9 there is no descriptor of another. Any
// thread may use it. A look is kept only once it is sure that the caller was still waiting after it.
#pragma once

#include "enforce/process/caller.hpp"
#include "enforce/process/proc_files.hpp"
#include "enforce/process/seen_image.hpp"
#include "events/event.hpp"
#include "sys/unique_fd.hpp"

#include <sys/types.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace kmodguard::process {

/// What is known of a process. Whoever has a look of it is its only user.
struct KnownProcess {
    pid_t id = 0;
    sys::UniqueFd process; ///< its pidfd
    // From its second call on; one that calls once is not worth them.
    sys::UniqueFd name;       ///< /proc/PID/comm
    sys::UniqueFd memory;     ///< /proc/PID/pagemap, of the memory that it has
    sys::UniqueFd namespaces; ///< /proc/PID/ns
    sys::UniqueFd cgroup;     ///< /proc/PID/cgroup
    events::Requester requester;
    Capabilities capabilities;
    bool ids_are_fixed = false; ///< it has one user id for all, and no right to another
    std::uint64_t cgroup_id = 0;
    std::shared_ptr<SeenImage> image = nullptr; ///< the last one that it was refused
};

/// A caller, as it was found.
struct Look {
    Caller caller;
    events::Requester requester;
    bool has_capability = false; ///< CAP_SYS_MODULE is effective, in whichever user namespace
    std::shared_ptr<KnownProcess> process = nullptr; ///< none of a thread that is not its process's first
};

class KnownProcesses {
  public:
    /// `max` processes are known at one time, each with five descriptors.
    explicit KnownProcesses(std::size_t max);

    [[nodiscard]] Look look(pid_t thread);
    /// The caller of `look` was still waiting afterwards: what was read is its own.
    void keep(const Look& look);

  private:
    using Process = std::shared_ptr<KnownProcess>;
    struct User {
        uid_t id = 0;
        bool fixed = false;
        std::optional<std::string> name = std::nullopt; ///< of the program, where it came with it
    };

    struct Cgroup {
        std::uint64_t id = 0;
        std::string path;
        std::string container;
    };

    [[nodiscard]] Process take(pid_t id);
    [[nodiscard]] bool has_called(pid_t id);
    [[nodiscard]] Process look_anew(const Caller& caller, pid_t id, bool keep_open);
    [[nodiscard]] bool refresh(KnownProcess& known, const Caller& caller);
    [[nodiscard]] std::optional<User> user_of(const KnownProcess& known,
                                              const std::optional<ProcessInfo>& info, bool unchanged) const;
    [[nodiscard]] std::optional<ProcessInfo> info_of(const KnownProcess& known);
    void set_cgroup(KnownProcess& known, const std::optional<ProcessInfo>& info);

    std::size_t max_;
    std::uint32_t own_namespace_; ///< user namespace
    OwnIds own_ids_;
    sys::UniqueFd own_descriptors_;
    std::atomic<bool> has_info_ = true; ///< the kernel may have PIDFD_GET_INFO
    std::mutex mutex_;                  ///< of what follows
    std::vector<Cgroup> cgroups_;       ///< of the callers of late
    std::vector<Process> known_;        ///< the one that called last at the end
    std::array<pid_t, 64> called_{};    ///< numbers of those that have called lately
    std::size_t next_called_ = 0;
};

} // namespace kmodguard::process
