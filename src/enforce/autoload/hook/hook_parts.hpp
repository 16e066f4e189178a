// SPDX-License-Identifier: AGPL-3.0-only
//
// What the hook consists of, beside the asking: its log, and the carrying out of what it is answered.
#pragma once

#include "enforce/autoload/hook/hook.hpp"
#include "sys/unique_fd.hpp"

#include <array>
#include <cstddef>
#include <initializer_list>
#include <span>
#include <string_view>

namespace kmodguard::autoload {

/// Logs the concatenation of `parts`, cut at about 1 KiB; whatever is not ASCII text becomes '?'. It is for
/// what the daemon cannot log because it was not there: to syslog's authpriv, or to the kernel's own log
/// where nothing listens on syslog yet. Never waits.
void log_message(const HookPaths& paths, std::initializer_list<std::string_view> parts);

constexpr std::size_t max_images = 8; ///< protocol/message.hpp
/// What came with the daemon's answer: unpacked images, in the order of the lines that speak of them.
using Images = std::array<sys::UniqueFd, max_images>;

/// How often the daemon was asked about this request before, and says now what it found in the files.
enum class Asked { once, again };

enum class PlanResult {
    done,    ///< every group succeeded
    failed,  ///< one did not
    outdated ///< a file is not the one that was judged: stopped there. Never where it was asked again
};

/// Carries out the daemon's plan: the lines of its answer, in order (docs/PROTOCOL.md, AUTOLOAD). Overwrites
/// them: each line's newline becomes a NUL. A step that fails ends its group if it is required; the other
/// groups go on.
PlanResult run_plan(std::span<char> lines, const Images& images, std::string_view token,
                    const HookPaths& paths, Asked asked);

/// Replaces the process by the original handler with `arguments`, the kernel's own. Returns only if it
/// cannot.
void exec_original(const HookPaths& paths, std::span<char* const> arguments);

} // namespace kmodguard::autoload
