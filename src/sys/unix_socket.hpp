// SPDX-License-Identifier: AGPL-3.0-only
//
// Stream sockets in the file system, for a daemon that must never wait and clients that must not wait for
// ever.
#pragma once

#include "sys/result.hpp"
#include "sys/unique_fd.hpp"

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <string>
#include <string_view>

namespace kmodguard::sys {

/// A non-blocking listening socket at `path` with `mode` from its first moment on. A socket file that is left
/// there is replaced if nobody answers on it; if somebody does, that is an error.
[[nodiscard]] Result<UniqueFd> listen_unix(const std::filesystem::path& path, mode_t mode, int backlog);

/// A connected socket whose sends and receives fail after `timeout`. Nobody there: ErrorKind::unreachable.
[[nodiscard]] Result<UniqueFd> connect_unix(const std::filesystem::path& path,
                                            std::chrono::milliseconds timeout);

struct Peer {
    pid_t pid = 0;
    uid_t uid = 0;
    gid_t gid = 0;
};

/// Who connected, as the kernel recorded it then (SO_PEERCRED, unix(7)).
[[nodiscard]] Result<Peer> peer_of(const UniqueFd& socket);

/// Sends all of `text`; a peer that is gone is an error, never a signal.
[[nodiscard]] Result<void> send_all(const UniqueFd& socket, std::string_view text);

} // namespace kmodguard::sys
