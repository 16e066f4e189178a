// SPDX-License-Identifier: AGPL-3.0-only
//
// What decides about modules must not be able to load one.
#pragma once

#include "sys/result.hpp"

#include <string_view>
#include <vector>

namespace kmodguard::sys {

/// Gives up every capability for good, in the calling thread and all that it starts: bounding set, ambient,
/// inheritable, permitted and effective, and with no_new_privs any way to gain one by exec (capabilities(7)).
/// Being root, the process keeps what root's files and uid give, and nothing more. Without the right to
/// change the bounding set (not root) it is left as it is; then no_new_privs holds.
[[nodiscard]] Result<void> drop_all_capabilities();

/// Gives up all but the capabilities of these names ("cap_bpf"), in the calling thread. What it has not got,
/// it does not get: then it fails when it uses it. Fails for a name that the library does not know.
[[nodiscard]] Result<void> keep_capabilities(const std::vector<std::string_view>& names);

} // namespace kmodguard::sys
