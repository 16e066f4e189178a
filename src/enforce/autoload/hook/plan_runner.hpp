// SPDX-License-Identifier: AGPL-3.0-only
//
// Carries out the daemon's plan: the lines of its answer, in order (docs/PROTOCOL.md, AUTOLOAD).
#pragma once

#include "enforce/autoload/hook/hook.hpp"

#include <span>
#include <string_view>

namespace kmodguard::autoload {

/// Runs the plan in `lines`, which it overwrites: each line's newline becomes a NUL. A step that fails ends
/// its group if it is required; the other groups go on. Returns hook_done if every group succeeded,
/// hook_failed if not.
int run_plan(std::span<char> lines, std::string_view token, const HookPaths& paths);

/// Replaces the process by the original handler with `arguments`, the kernel's own. Returns only if it
/// cannot.
void exec_original(const HookPaths& paths, std::span<char* const> arguments);

} // namespace kmodguard::autoload
