// SPDX-License-Identifier: AGPL-3.0-only
//
// One question to the daemon.
#pragma once

#include "protocol/message.hpp"

#include <chrono>
#include <filesystem>
#include <functional>

namespace kmodguard::protocol {

/// Sends `request` to the daemon at `socket` and waits for its whole answer, for `timeout` at most for each
/// step. An ERR answer becomes an error of the kind that it names; no daemon there, or no answer in time, is
/// ErrorKind::unreachable.
[[nodiscard]] sys::Result<Answer> ask(const std::filesystem::path& socket, const Request& request,
                                      std::chrono::milliseconds timeout = std::chrono::seconds(5));

/// The same for a request that changes something: it waits for the answer as long as the daemon is there,
/// since a change that was made must not be reported as a failure. `waiting` is called once, after `timeout`.
[[nodiscard]] sys::Result<Answer> ask_for_change(const std::filesystem::path& socket, const Request& request,
                                                 const std::function<void()>& waiting,
                                                 std::chrono::milliseconds timeout = std::chrono::seconds(5));

} // namespace kmodguard::protocol
