// SPDX-License-Identifier: AGPL-3.0-only
//
// The mode as kmodctl shows it.
#pragma once

#include "protocol/message.hpp"

#include <string>

namespace kmodguard::ctl {

/// By the daemon's answer to STATUS: "audit (for 29 s more)".
[[nodiscard]] std::string mode_in_words(const protocol::Answer& daemon);

} // namespace kmodguard::ctl
