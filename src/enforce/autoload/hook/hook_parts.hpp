// SPDX-License-Identifier: AGPL-3.0-only
//
// What the hook consists of, beside the asking: its log, and the carrying out of what it is answered.
#pragma once

#include "enforce/autoload/hook/hook.hpp"

#include <initializer_list>
#include <span>
#include <string_view>

namespace kmodguard::autoload {

/// Logs the concatenation of `parts`, cut at about 1 KiB; whatever is not ASCII text becomes '?'. It is for
/// what the daemon cannot log because it was not there: to syslog's authpriv, or to the kernel's own log
/// where nothing listens on syslog yet. Never waits.
void log_message(const HookPaths& paths, std::initializer_list<std::string_view> parts);

/// Carries out the daemon's plan: the lines of its answer, in order (docs/PROTOCOL.md, AUTOLOAD). Overwrites
/// them: each line's newline becomes a NUL. A step that fails ends its group if it is required; the other
/// groups go on. Returns hook_done if every group succeeded, hook_failed if not.
int run_plan(std::span<char> lines, std::string_view token, const HookPaths& paths);

/// Replaces the process by the original handler with `arguments`, the kernel's own. Returns only if it
/// cannot.
void exec_original(const HookPaths& paths, std::span<char* const> arguments);

} // namespace kmodguard::autoload
