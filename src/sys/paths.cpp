// SPDX-License-Identifier: AGPL-3.0-only
#include "sys/paths.hpp"

namespace kmodguard::sys {

Paths::Paths(std::filesystem::path root) : root_(std::filesystem::absolute(root).lexically_normal()) {}

std::vector<std::filesystem::path> Paths::modprobe_configuration() const {
    return {root_ / "etc/modprobe.d", root_ / "run/modprobe.d", root_ / "usr/local/lib/modprobe.d",
            root_ / "lib/modprobe.d"};
}

} // namespace kmodguard::sys
