// SPDX-License-Identifier: AGPL-3.0-only
//
// One connection of an OCI runtime: it brings the state of one container with its seccomp listener, and is
// over. Whatever else it brings is refused and closed. That refuses the container its modules and opens
// nothing: a listener that is closed makes the calls that wait for it fail with ENOSYS.
#pragma once

#include "enforce/process/oci_state.hpp"
#include "sys/result.hpp"
#include "sys/unique_fd.hpp"

#include <string>
#include <variant>
#include <vector>

namespace kmodguard::process {

struct HandOver {
    OciState state;
    /// Of the container's first process when it was handed over, by its inode number; 0 if that is not known.
    std::uint64_t user_namespace = 0;
    sys::UniqueFd listener; ///< said to be a seccomp listener; anything, for all that is known
};

class RuntimeConnection {
  public:
    /// `socket` must not block.
    explicit RuntimeConnection(sys::UniqueFd socket) : socket_(std::move(socket)) {}

    struct Incomplete {}; ///< more is to come
    struct Closed {};     ///< by the peer, which has sent nothing
    using Received = std::variant<HandOver, Incomplete, Closed>;

    /// Takes what is there. Where that is not Incomplete, the connection is of no more use.
    [[nodiscard]] sys::Result<Received> receive();

    /// Whether nothing has come yet.
    [[nodiscard]] bool silent() const { return text_.empty(); }
    [[nodiscard]] int fd() const { return socket_.get(); }

  private:
    [[nodiscard]] sys::Result<Received> complete();

    sys::UniqueFd socket_;
    std::string text_;
    ObjectEnd end_;
    std::vector<sys::UniqueFd> descriptors_;
};

} // namespace kmodguard::process
