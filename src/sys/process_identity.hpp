// SPDX-License-Identifier: AGPL-3.0-only
//
// Who another process is, as far as a record of what it did needs it.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <optional>
#include <string>

namespace kmodguard::sys {

struct ProcessIdentity {
    pid_t pid = 0;       ///< in the namespace of this process
    uid_t uid = 0;       ///< effective, in its user namespace
    std::string command; ///< 15 bytes of the program's name, which it may choose (comm); "" if not known
    std::optional<uid_t>
        login_uid; ///< of whom the session is, whatever was changed since; nothing: not known, or of none
};

/// Process `pid`, which the kernel says runs as `uid`. The rest is read below `proc`, and is left out where
/// it cannot be read. Of a process that has ended meanwhile another may have the number.
[[nodiscard]] ProcessIdentity identify_process(pid_t pid, uid_t uid,
                                               const std::filesystem::path& proc = "/proc");

} // namespace kmodguard::sys
