// SPDX-License-Identifier: AGPL-3.0-only
//
// A runtime's end of a hand-over, and descriptors to send.
#pragma once

#include "sys/unique_fd.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace kmodguard::test {

/// The state of container `id` with these descriptors; `more` stands in its "state".
std::string state_of(const std::string& id, const std::string& fds = R"(["seccompFd"])",
                     const std::string& more = "");

/// Sends `text` with `descriptors` in one message. False: the other end is gone.
bool send_with(int socket, std::string_view text, const std::vector<int>& descriptors);

/// A pipe, whose writing end is sent: the reading end tells whether anybody still has the other open.
class Canary {
  public:
    Canary();
    [[nodiscard]] int fd() const;
    /// Closes the end of one's own, and waits until nobody else has one.
    bool wait_until_closed();
    /// Whether somebody else has one.
    bool is_open();

  private:
    sys::UniqueFd read_;
    sys::UniqueFd write_;
};

} // namespace kmodguard::test
