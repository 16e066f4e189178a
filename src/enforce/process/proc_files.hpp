// SPDX-License-Identifier: AGPL-3.0-only
//
// What /proc and pidfds tell of another process, as the kernel writes it. Nothing is checked of who that is:
// of a process that has ended meanwhile another may have the number.
#pragma once

#include "sys/unique_fd.hpp"

#include <fcntl.h>
#include <linux/capability.h>
#include <sys/types.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace kmodguard::process {

[[nodiscard]] std::string proc_path(pid_t thread, std::string_view entry); ///< "/proc/42/exe"
[[nodiscard]] std::string read_proc(pid_t thread, std::string_view entry); ///< "" if it cannot be
/// What a link names, up to PATH_MAX bytes; "" if it is none. A relative path is one from `folder`.
[[nodiscard]] std::string link_target(const std::string& path, int folder = AT_FDCWD);

/// The first word after `key` in a text of "Key:\tvalue" lines.
[[nodiscard]] std::string_view field(std::string_view text, std::string_view key);
[[nodiscard]] unsigned number(std::string_view text);

/// A program's name as field() finds it in /proc/PID/status, by the content of /proc/PID/comm.
[[nodiscard]] std::string name_as_in_status(std::string_view comm);

struct Status {
    pid_t process = 0;
    uid_t user = 0;            ///< real
    bool has_one_user = false; ///< the real, effective, saved and file system's user are the same
    std::string name;
};
/// Of /proc/PID/status, which takes longer than all else together.
[[nodiscard]] std::optional<Status> status_of(pid_t thread);

/// The inode number of its user namespace; 0 if it cannot be looked at.
[[nodiscard]] std::uint32_t user_namespace_of(pid_t thread);
/// The same, by its open folder /proc/PID/ns.
[[nodiscard]] std::uint32_t user_namespace_in(const sys::UniqueFd& namespaces);

struct ProcessInfo {
    uid_t user = 0;              ///< real
    std::uint64_t cgroup_id = 0; ///< in the one hierarchy of version 2; 0: not known
};
/// What the kernel says of a process by its pidfd (Linux 6.13); nothing where it does not.
[[nodiscard]] std::optional<ProcessInfo> info_of(const sys::UniqueFd& process);

/// Whether all user ids of another thread are this process's real one. It is what the kernel asks before it
/// lets one process look into another, of those without CAP_SYS_PTRACE (ptrace(2), "Ptrace access mode
/// checking"): so the calling thread does without for a moment.
class OwnIds {
  public:
    /// Its capabilities are those that the calling thread has now.
    OwnIds();
    /// Only of a thread in this process's own user namespace. False may also mean that it is not known.
    [[nodiscard]] bool has(pid_t thread) const;

  private:
    using Sets = std::array<__user_cap_data_struct, 2>;

    bool known_ = false;
    bool has_it_ = false; ///< CAP_SYS_PTRACE
    Sets with_{};
    Sets without_{};
};

} // namespace kmodguard::process
