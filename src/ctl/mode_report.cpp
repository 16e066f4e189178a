// SPDX-License-Identifier: AGPL-3.0-only
#include "ctl/mode_report.hpp"

#include <fmt/format.h>

namespace kmodguard::ctl {

std::string mode_in_words(const protocol::Answer& daemon) {
    std::string line = daemon.value("mode");
    if (const std::string forced = daemon.value("mode-forced"); !forced.empty())
        line += fmt::format(" (by {})", forced);
    if (const std::string left = daemon.value("mode-seconds-left"); !left.empty())
        line += fmt::format(" (for {} s more)", left);
    return line;
}

} // namespace kmodguard::ctl
