// SPDX-License-Identifier: AGPL-3.0-only
//
// Stream sockets in the file system, for a daemon that must never wait and clients that must not wait for
// ever.
#pragma once

#include "sys/result.hpp"
#include "sys/unique_fd.hpp"

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kmodguard::sys {

/// A non-blocking listening socket at `path` with `mode` from its first moment on. A socket file that is left
/// there is replaced if no process answers on it; else that is an error.
[[nodiscard]] Result<UniqueFd> listen_unix(const std::filesystem::path& path, mode_t mode, int backlog);

/// A connected socket whose sends and receives fail after `timeout`. No listener: ErrorKind::unreachable.
[[nodiscard]] Result<UniqueFd> connect_unix(const std::filesystem::path& path,
                                            std::chrono::milliseconds timeout);

/// Takes the connections that wait on `listener`, `limit` at most, and gives each, non-blocking and
/// close-on-exec, to `welcome`. Where no descriptor is left `make_room` is to close one, and says whether it
/// has. False: connections may still wait, and there are no descriptors for them.
bool accept_waiting(const UniqueFd& listener, int limit, const std::function<bool()>& make_room,
                    const std::function<void(UniqueFd)>& welcome);

struct Peer {
    pid_t pid = 0;
    uid_t uid = 0;
    gid_t gid = 0;
};

/// Who connected, as the kernel recorded it then (SO_PEERCRED, unix(7)).
[[nodiscard]] Result<Peer> peer_of(const UniqueFd& socket);

/// Most descriptors that are taken with one receive().
inline constexpr std::size_t max_descriptors = 8;

/// What one recvmsg(2) brought.
struct Received {
    std::size_t bytes = 0;             ///< 0: the peer has closed
    std::vector<UniqueFd> descriptors; ///< close-on-exec, in the order in which they were sent
    bool lost_descriptors = false;     ///< more were sent than max_descriptors, or than may be open here
};

/// Receives into `buffer` what is there, with the descriptors that were sent along (SCM_RIGHTS, unix(7)).
/// nullopt: nothing is there yet, on a socket that does not block.
[[nodiscard]] Result<std::optional<Received>> receive(const UniqueFd& socket, std::span<char> buffer);

/// Sends some of `text`, which is not empty, and with its first byte `descriptors`, max_descriptors at most
/// (SCM_RIGHTS, unix(7)). Returns how many bytes, or -1 with errno, and then neither was sent; a peer that is
/// gone is no signal. Allocates nothing.
[[nodiscard]] ssize_t send_some(int socket, std::string_view text, std::span<const int> descriptors);

/// Sends `text` as one message, and `descriptor` along (SCM_RIGHTS, unix(7)). False, with errno: it was not
/// sent; a peer that is gone is no signal. Allocates nothing.
[[nodiscard]] bool send_descriptor(int socket, std::string_view text, int descriptor);

/// Sends all of `text`; a peer that is gone is an error, never a signal.
[[nodiscard]] Result<void> send_all(const UniqueFd& socket, std::string_view text);

} // namespace kmodguard::sys
