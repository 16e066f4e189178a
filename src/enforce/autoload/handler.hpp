// SPDX-License-Identifier: AGPL-3.0-only
//
// Arming: /proc/sys/kernel/modprobe names the program that the kernel runs when it wants a module. Armed
// means that it names kmodguard's hook, and that what it named before is saved.
#pragma once

#include "sys/paths.hpp"
#include "sys/result.hpp"

#include <optional>
#include <string>

namespace kmodguard::autoload {

struct HandlerStatus {
    std::optional<std::string> current;  ///< nothing: a kernel without module loading
    std::optional<std::string> original; ///< as saved by arm()
    bool armed = false;                  ///< current is the hook
    bool static_helper = false;          ///< the kernel ignores the setting (CONFIG_STATIC_USERMODEHELPER)

    [[nodiscard]] bool disabled() const { return current && current->empty(); } ///< no autoloading at all
    /// Rewritten by another process.
    [[nodiscard]] bool taken_away() const { return !armed && original.has_value(); }
};

[[nodiscard]] sys::Result<HandlerStatus> handler_status(const sys::Paths& paths);
/// The same without static_helper, which takes reading a large file.
[[nodiscard]] sys::Result<HandlerStatus> handler_setting(const sys::Paths& paths);

/// The status in words, with what to do if it is not as it should be.
[[nodiscard]] std::string describe(const HandlerStatus& status);

struct ArmResult {
    bool changed = false;
    std::string original; ///< the handler that disarm() will put back
    std::string warning;  ///< something the user should know; may be empty
};

/// Points the kernel at the hook and saves the handler it had. A saved one is never overwritten, and the hook
/// never saved as the original; if the saved one is lost, a modprobe that exists takes its place. An empty
/// handler (autoloading switched off) stays empty.
[[nodiscard]] sys::Result<ArmResult> arm(const sys::Paths& paths);

struct DisarmResult {
    bool changed = false;
    std::string handler; ///< in force now
    std::string warning;
};

/// Puts the saved handler back and forgets it. A handler that another program has set meanwhile stays.
/// Without a saved one it fails, unless `force`: then a modprobe that exists is set, whatever there was.
[[nodiscard]] sys::Result<DisarmResult> disarm(const sys::Paths& paths, bool force);

} // namespace kmodguard::autoload
