// SPDX-License-Identifier: AGPL-3.0-only
#include "sys/paths.hpp"

namespace kmodguard::sys {

Paths::Paths(std::filesystem::path root) {
    std::error_code error; // a current directory that is gone, or an empty path
    root_ = std::filesystem::absolute(root, error).lexically_normal();
    if (error) root_ = std::move(root);
}

std::vector<std::filesystem::path> Paths::modprobe_configuration() const {
    return {root_ / "etc/modprobe.d", root_ / "run/modprobe.d", root_ / "usr/local/lib/modprobe.d",
            root_ / "lib/modprobe.d"};
}

} // namespace kmodguard::sys
