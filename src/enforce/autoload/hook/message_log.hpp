// SPDX-License-Identifier: AGPL-3.0-only
//
// The hook's log, for what the daemon cannot log because it was not there: syslog's authpriv, or the kernel's
// own log where nothing listens on syslog yet. Never waits.
#pragma once

#include "enforce/autoload/hook/hook.hpp"

#include <initializer_list>
#include <string_view>

namespace kmodguard::autoload {

/// Logs the concatenation of `parts`, cut at about 1 KiB; whatever is not ASCII text becomes '?'.
void log_message(const HookPaths& paths, std::initializer_list<std::string_view> parts);

/// An errno value in words.
std::string_view error_text(int code);

} // namespace kmodguard::autoload
