// SPDX-License-Identifier: AGPL-3.0-only
#include "sys/unix_socket.hpp"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace kmodguard::sys {
namespace {

Result<sockaddr_un> address_of(const std::filesystem::path& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.native().size() >= sizeof address.sun_path)
        return failure(ErrorKind::invalid, fmt::format("{} is too long for a socket's path", path.native()));
    std::memcpy(address.sun_path, path.c_str(), path.native().size());
    return address;
}

const sockaddr* generic(const sockaddr_un& address) {
    // NOLINTNEXTLINE(*-reinterpret-cast): the socket API's own idiom
    return reinterpret_cast<const sockaddr*>(&address);
}

/// Removes a socket file that no process answers on any more.
Result<void> remove_stale(const std::filesystem::path& path) {
    struct stat status{};
    if (::lstat(path.c_str(), &status) != 0) return {};
    if (!S_ISSOCK(status.st_mode))
        return failure(ErrorKind::failed, fmt::format("{} exists and is no socket", path.native()),
                       "remove it");
    const auto connected = connect_unix(path, std::chrono::milliseconds(200));
    // Busy, it listens all the same.
    if (connected || connected.error().kind != ErrorKind::unreachable)
        return failure(ErrorKind::failed, fmt::format("another daemon answers on {}", path.native()),
                       "stop it with kmodctl stop");
    if (::unlink(path.c_str()) != 0) return system_failure("cannot remove", path.native());
    return {};
}

/// Owns the descriptors that came with `message`.
std::vector<UniqueFd> descriptors_of(msghdr& message) {
    std::vector<UniqueFd> descriptors;
    for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
         header = CMSG_NXTHDR(&message, header)) {
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
        const std::size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (std::size_t i = 0; i < count; ++i) {
            int fd = -1;
            std::memcpy(&fd, CMSG_DATA(header) + i * sizeof fd, sizeof fd);
            descriptors.emplace_back(fd);
        }
    }
    return descriptors;
}

} // namespace

Result<UniqueFd> listen_unix(const std::filesystem::path& path, mode_t mode, int backlog) {
    const auto address = TRY(address_of(path));
    TRY(remove_stale(path));
    UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd) return system_failure("cannot create a socket for", path.native());
    // The mode of a socket's file is that of the descriptor at bind, less the umask (unix(7)).
    if (::fchmod(fd.get(), mode) != 0 || ::bind(fd.get(), generic(address), sizeof address) != 0)
        return system_failure("cannot bind", path.native());
    if (::chmod(path.c_str(), mode) != 0 || ::listen(fd.get(), backlog) != 0)
        return system_failure("cannot listen on", path.native());
    return fd;
}

Result<UniqueFd> connect_unix(const std::filesystem::path& path, std::chrono::milliseconds timeout) {
    const auto address = TRY(address_of(path));
    UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!fd) return system_failure("cannot create a socket for", path.native());
    const auto whole = std::chrono::duration_cast<std::chrono::seconds>(timeout);
    const auto rest = std::chrono::duration_cast<std::chrono::microseconds>(timeout - whole);
    const timeval limit{.tv_sec = whole.count(), .tv_usec = rest.count()};
    if (::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) != 0
        || ::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) != 0)
        return system_failure("cannot set the time-out of", path.native());
    if (::connect(fd.get(), generic(address), sizeof address) == 0) return fd;
    Error error = system_error("cannot connect to", path.native());
    if (errno == ENOENT || errno == ECONNREFUSED || errno == EAGAIN) error.kind = ErrorKind::unreachable;
    return std::unexpected(std::move(error));
}

bool accept_waiting(const UniqueFd& listener, int limit, const std::function<bool()>& make_room,
                    const std::function<void(UniqueFd)>& welcome) {
    for (int i = 0; i < limit; ++i) {
        UniqueFd socket(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
        if (socket)
            welcome(std::move(socket));
        else if (errno != EMFILE && errno != ENFILE)
            return true;
        else if (!make_room())
            return false;
    }
    return true;
}

Result<Peer> peer_of(const UniqueFd& socket) {
    ucred credentials{};
    socklen_t size = sizeof credentials;
    if (::getsockopt(socket.get(), SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0)
        return system_failure("cannot identify", "the peer of a socket");
    return Peer{credentials.pid, credentials.uid, credentials.gid};
}

Result<std::optional<Received>> receive(const UniqueFd& socket, std::span<char> buffer) {
    iovec into{.iov_base = buffer.data(), .iov_len = buffer.size()};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * max_descriptors)> control{};
    msghdr message{};
    message.msg_iov = &into;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    ssize_t count = -1;
    do
        count = ::recvmsg(socket.get(), &message, MSG_CMSG_CLOEXEC);
    while (count < 0 && errno == EINTR);
    if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return std::nullopt;
    if (count < 0) return system_failure("cannot receive from", "a socket");
    return Received{.bytes = static_cast<std::size_t>(count),
                    .descriptors = descriptors_of(message),
                    .lost_descriptors = (message.msg_flags & MSG_CTRUNC) != 0};
}

ssize_t send_some(int socket, std::string_view text, std::span<const int> descriptors) {
    // NOLINTNEXTLINE(*-const-cast): iovec is for receiving as well
    iovec bytes{.iov_base = const_cast<char*>(text.data()), .iov_len = text.size()};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * max_descriptors)> control{};
    msghdr message{};
    message.msg_iov = &bytes;
    message.msg_iovlen = 1;
    if (const std::span<const int> sent = descriptors.first(std::min(descriptors.size(), max_descriptors));
        !sent.empty()) {
        message.msg_control = control.data();
        message.msg_controllen = CMSG_SPACE(sent.size_bytes());
        cmsghdr* const header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sent.size_bytes());
        std::memcpy(CMSG_DATA(header), sent.data(), sent.size_bytes());
    }
    ssize_t count = 0;
    do
        count = ::sendmsg(socket, &message, MSG_NOSIGNAL);
    while (count < 0 && errno == EINTR);
    return count;
}

bool send_descriptor(int socket, std::string_view text, int descriptor) {
    return send_some(socket, text, {&descriptor, 1}) == static_cast<ssize_t>(text.size());
}

Result<void> send_all(const UniqueFd& socket, std::string_view text) {
    while (!text.empty()) {
        const ssize_t count = ::send(socket.get(), text.data(), text.size(), MSG_NOSIGNAL);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) return system_failure("cannot send to", "a socket");
        text.remove_prefix(static_cast<std::size_t>(count));
    }
    return {};
}

} // namespace kmodguard::sys
