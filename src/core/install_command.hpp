// SPDX-License-Identifier: AGPL-3.0-only
//
// What the COMMAND of modprobe.d's `install NAME COMMAND` does, as far as its words tell. modprobe hands it
// to a shell, so all of it is known only when it has run; what is not known is named, and never taken for
// nothing.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace kmodguard::core {

struct InstallCommand {
    std::string text; ///< as written
    std::vector<std::string>
        loads;           ///< modules and aliases that it gives to modprobe and insmod, each once, in order
    std::string unknown; ///< the first part of it whose effect is not known; "" if all is

    /// Such as /bin/false, /bin/true or `exit 1`: no request gets a module.
    [[nodiscard]] bool loads_nothing() const { return loads.empty() && unknown.empty(); }
    bool operator==(const InstallCommand&) const = default;
};

/// Reads a command of any length; of one longer than 4,096 bytes the rest is not known.
[[nodiscard]] InstallCommand read_install_command(std::string_view text);

} // namespace kmodguard::core
