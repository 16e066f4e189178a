// SPDX-License-Identifier: AGPL-3.0-only
//
// What the kernel runs instead of modprobe: `kmodguard-hook -q -- TOKEN`. It asks the daemon, gets a refusal
// or a plan, and carries the plan out itself. So loads run in parallel, a module whose init asks for another
// module cannot deadlock the daemon, and what decides cannot load while what loads cannot decide. When no
// daemon answers it refuses: there is no policy of its own to fall back to.
//
// Nothing here allocates, throws, or uses stdio; see CMakeLists.txt for why.
#pragma once

#include <span>

namespace kmodguard::autoload {

/// Where the hook finds what it needs. NUL-terminated paths.
struct HookPaths {
    const char* socket = "/run/kmodguard/daemon.sock";
    const char* original_handler = "/run/kmodguard/original_modprobe";
    const char* kernel_command_line = "/proc/cmdline";
    const char* loaded_modules = "/sys/module";
    const char* syslog = "/dev/log";
    const char* kernel_log = "/dev/kmsg";
    int answer_seconds = 5; ///< how long the daemon may take
};

/// Exit codes, those of kmodctl. The kernel hands them to the process that asked, as a failed request.
enum HookExit : int {
    hook_done = 0,
    hook_failed = 1,
    hook_usage = 2,
    hook_refused = 3,
    hook_unreachable = 5
};

/// Serves one request with the arguments that the kernel gives its handler, program name not included:
/// "-q" "--" TOKEN. Returns an exit code.
int run_hook(std::span<char* const> arguments, const HookPaths& paths);

} // namespace kmodguard::autoload
