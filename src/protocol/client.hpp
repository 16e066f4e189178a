// SPDX-License-Identifier: AGPL-3.0-only
//
// One question to the daemon.
#pragma once

#include "protocol/message.hpp"

#include <chrono>
#include <filesystem>

namespace kmodguard::protocol {

/// Sends `request` to the daemon at `socket` and waits for its whole answer, `timeout` at most for each step.
/// An ERR answer becomes an error of the kind that it names; nobody there, or none in time, is
/// ErrorKind::unreachable.
[[nodiscard]] sys::Result<Answer> ask(const std::filesystem::path& socket, const Request& request,
                                      std::chrono::milliseconds timeout = std::chrono::seconds(5));

} // namespace kmodguard::protocol
