// SPDX-License-Identifier: AGPL-3.0-only
#include "gdb/remote_connection.hpp"

#include "sys/trace.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <limits>
#include <utility>

namespace kmodguard::gdb {
namespace {

using sys::ErrorKind;

constexpr std::size_t buffer_size = 16384;
// A socket damages nothing, so one repeat is more than is ever needed.
constexpr int max_repeats = 3;
// Acknowledgements and packets that answer nothing: a stub sends one of these at most.
constexpr int max_strays = 64;
// An acknowledgement is one byte. Where it does not fit into the socket's buffer no process reads at the
// other end.
constexpr auto acknowledge_timeout = std::chrono::seconds(1);
constexpr std::string_view interrupt_byte = "\x03";
constexpr const char* reconnect_hint = "connect again; where nothing answers then, restart the emulator";

Deadline acknowledge_deadline() {
    return std::chrono::steady_clock::now() + acknowledge_timeout;
}

int milliseconds_until(Deadline deadline) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    return static_cast<int>(
        std::clamp<std::chrono::milliseconds::rep>(left.count(), 0, std::numeric_limits<int>::max()));
}

/// Whether `events` came by then. An error of poll counts as yes: the call that follows tells which.
bool wait_for(const sys::UniqueFd& socket, short events, Deadline deadline) {
    pollfd poll{.fd = socket.get(), .events = events, .revents = 0};
    int ready = -1;
    do
        ready = ::poll(&poll, 1, milliseconds_until(deadline));
    while (ready < 0 && errno == EINTR);
    return ready != 0;
}

bool would_block(int code) {
    return code == EAGAIN || code == EWOULDBLOCK || code == EINTR;
}

} // namespace

RemoteConnection::RemoteConnection(sys::UniqueFd socket, std::string name)
    : socket_(std::move(socket)), name_(std::move(name)) {}

void RemoteConnection::close() {
    socket_.reset();
    buffer_.clear();
    next_ = 0;
    lost_ = true;
}

std::unexpected<sys::Error> RemoteConnection::lose(ErrorKind kind, std::string_view why) {
    lost_ = true;
    return sys::failure(kind, fmt::format("{}: {}", name_, why), reconnect_hint);
}

std::unexpected<sys::Error> RemoteConnection::end(std::string_view why) {
    ended_ = true;
    return lose(ErrorKind::unreachable, why);
}

sys::Result<void> RemoteConnection::send_bytes(std::string_view bytes, Deadline deadline) {
    if (lost_) return lose(ErrorKind::unreachable, "the connection was lost before");
    while (!bytes.empty()) {
        const ssize_t count = ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
        if (count >= 0) {
            bytes.remove_prefix(static_cast<std::size_t>(count));
            continue;
        }
        if (errno == EPIPE || errno == ECONNRESET) return end("the emulator has hung up");
        if (!would_block(errno))
            return lose(ErrorKind::failed, sys::system_error("cannot send to", "it").what);
        if (std::chrono::steady_clock::now() >= deadline || !wait_for(socket_, POLLOUT, deadline))
            return lose(ErrorKind::unreachable, "the stub takes nothing more");
    }
    return {};
}

/// Receives more bytes, if all that were received before were looked at. False: none came by `deadline`.
sys::Result<bool> RemoteConnection::fill(Deadline deadline) {
    if (has_buffered()) return true;
    if (lost_) return lose(ErrorKind::unreachable, "the connection was lost before");
    buffer_.resize(buffer_size);
    next_ = buffer_.size();
    while (true) {
        const ssize_t count = ::recv(socket_.get(), buffer_.data(), buffer_.size(), MSG_DONTWAIT);
        if (count > 0) {
            buffer_.resize(static_cast<std::size_t>(count));
            next_ = 0;
            return true;
        }
        if (count == 0 || errno == ECONNRESET) return end("the emulator has hung up");
        if (!would_block(errno))
            return lose(ErrorKind::failed, sys::system_error("cannot receive from", "it").what);
        if (std::chrono::steady_clock::now() >= deadline || !wait_for(socket_, POLLIN, deadline))
            return false;
    }
}

/// The next packet, acknowledgement or damaged packet; nullopt at the deadline.
sys::Result<std::optional<Received>> RemoteConnection::next(Deadline deadline) {
    while (true) {
        const auto filled = TRY(fill(deadline));
        if (!filled) return std::nullopt;
        std::string_view bytes(buffer_.data() + next_, buffer_.size() - next_);
        auto received = decoder_.take(bytes);
        next_ = buffer_.size() - bytes.size();
        if (!received) return lose(received.error().kind, received.error().what);
        if (*received) return received;
        // The stream may be endless without ever holding a packet.
        if (std::chrono::steady_clock::now() >= deadline) return std::nullopt;
    }
}

sys::Result<std::optional<std::string>> RemoteConnection::receive_if_any(Deadline deadline) {
    int repeats = 0;
    for (int strays = 0; strays <= max_strays;) {
        auto received = TRY(next(deadline));
        if (!received) return std::nullopt;
        switch (received->kind) {
        case Received::Kind::packet:
            TRY(send_bytes("+", acknowledge_deadline()));
            sys::trace(sys::Topic::packets, "<- {}", received->payload);
            return std::move(received->payload);
        case Received::Kind::damaged:
            if (++repeats > max_repeats) return lose(ErrorKind::invalid, "packets with wrong checksums");
            TRY(send_bytes("-", acknowledge_deadline()));
            break;
        case Received::Kind::acknowledged:
        case Received::Kind::refused: ++strays; break;
        }
    }
    return lose(ErrorKind::invalid, "acknowledgements without end");
}

sys::Result<void> RemoteConnection::send(std::string_view payload, Deadline deadline) {
    sys::trace(sys::Topic::packets, "-> {}", payload);
    const std::string packet = encode_packet(payload);
    TRY(send_bytes(packet, deadline));
    return wait_acknowledged(packet, deadline);
}

sys::Result<std::vector<std::string>> RemoteConnection::exchange(std::span<const std::string> payloads,
                                                                 Deadline deadline) {
    std::string packets;
    for (const std::string& payload : payloads) {
        sys::trace(sys::Topic::packets, "-> {}", payload);
        packets += encode_packet(payload);
    }
    TRY(send_bytes(packets, deadline));
    std::vector<std::string> answers;
    for (const std::string& payload : payloads) {
        TRY(wait_acknowledged(encode_packet(payload), deadline));
        auto answer = TRY(receive(deadline));
        answers.push_back(std::move(answer));
    }
    return answers;
}

/// Sends `packet` again if the stub asks for it.
sys::Result<void> RemoteConnection::wait_acknowledged(std::string_view packet, Deadline deadline) {
    int repeats = 0;
    for (int strays = 0; strays <= max_strays; ++strays) {
        auto received = TRY(next(deadline));
        if (!received) return lose(ErrorKind::unreachable, "the stub does not take a command in time");
        switch (received->kind) {
        case Received::Kind::acknowledged: return {};
        case Received::Kind::refused:
            if (++repeats > max_repeats) return lose(ErrorKind::invalid, "the stub refuses every packet");
            TRY(send_bytes(packet, deadline));
            break;
        case Received::Kind::packet:
        case Received::Kind::damaged: // its repeat would only be in the way
            TRY(send_bytes("+", acknowledge_deadline()));
            sys::trace(sys::Topic::packets, "<- {}", received->payload);
            break;
        }
    }
    return lose(ErrorKind::invalid, "packets without end that answer nothing");
}

sys::Result<std::string> RemoteConnection::receive(Deadline deadline) {
    auto packet = TRY(receive_if_any(deadline));
    if (!packet) return lose(ErrorKind::unreachable, "the stub does not answer in time");
    return std::move(*packet);
}

sys::Result<void> RemoteConnection::send_interrupt(Deadline deadline) {
    return send_bytes(interrupt_byte, deadline);
}

} // namespace kmodguard::gdb
