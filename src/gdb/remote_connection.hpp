// SPDX-License-Identifier: AGPL-3.0-only
//
// Packets over a socket, and nothing of what they mean. The stub handles one packet at a time and
// acknowledges it before it answers; so what comes before the acknowledgement answers something else, and
// once an answer is overdue it is not known any more what a later one belongs to. From then on the connection
// counts as lost.
#pragma once

#include "gdb/remote_packet.hpp"
#include "sys/result.hpp"
#include "sys/unique_fd.hpp"

#include <chrono>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kmodguard::gdb {

using Deadline = std::chrono::steady_clock::time_point;

class RemoteConnection {
  public:
    /// Takes over a connected stream socket. `name` is what errors call the other end.
    RemoteConnection(sys::UniqueFd socket, std::string name);

    /// Sends a packet, again if the stub asks for it, and returns when the stub has acknowledged it. Packets
    /// that come before that are dropped. ErrorKind::unreachable: not acknowledged by `deadline`, or the stub
    /// hung up.
    [[nodiscard]] sys::Result<void> send(std::string_view payload, Deadline deadline);

    /// Sends several packets at once and returns their answers, in their order: the stub takes them one by
    /// one all the same, but it is not waited for in between. For commands and answers of some bytes, and at
    /// most max_together of them. Errors as with send() and receive().
    [[nodiscard]] sys::Result<std::vector<std::string>> exchange(std::span<const std::string> payloads,
                                                                 Deadline deadline);

    /// The next packet, acknowledged. ErrorKind::unreachable: none by `deadline`, or the stub hung up.
    /// ErrorKind::invalid: what came is no packet. Either way the connection is then lost.
    [[nodiscard]] sys::Result<std::string> receive(Deadline deadline);

    /// The next packet, or nullopt: none was whole at `deadline`; that alone does not lose the connection. A
    /// deadline in the past takes what is already there.
    [[nodiscard]] sys::Result<std::optional<std::string>> receive_if_any(Deadline deadline);

    /// Sends the one byte that stops a running machine. It is neither acknowledged nor answered.
    [[nodiscard]] sys::Result<void> send_interrupt(Deadline deadline);

    /// Whether bytes were received that receive() has not looked at; poll(2) on fd() does not report it.
    [[nodiscard]] bool has_buffered() const { return next_ < buffer_.size(); }

    /// Whether the other end hung up.
    [[nodiscard]] bool has_ended() const { return ended_; }

    [[nodiscard]] int fd() const { return socket_.get(); }
    [[nodiscard]] const std::string& name() const { return name_; }
    void close();

    static constexpr std::size_t max_together = 16;

  private:
    [[nodiscard]] sys::Result<void> wait_acknowledged(std::string_view packet, Deadline deadline);
    [[nodiscard]] sys::Result<std::optional<Received>> next(Deadline deadline);
    [[nodiscard]] sys::Result<bool> fill(Deadline deadline);
    [[nodiscard]] sys::Result<void> send_bytes(std::string_view bytes, Deadline deadline);
    [[nodiscard]] std::unexpected<sys::Error> lose(sys::ErrorKind kind, std::string_view why);
    [[nodiscard]] std::unexpected<sys::Error> end(std::string_view why);

    sys::UniqueFd socket_;
    std::string name_;
    PacketDecoder decoder_;
    std::vector<char> buffer_;
    std::size_t next_ = 0; ///< the first byte of buffer_ that the decoder has not seen
    bool lost_ = false;
    bool ended_ = false;
};

} // namespace kmodguard::gdb
