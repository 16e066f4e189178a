// SPDX-License-Identifier: AGPL-3.0-only
#include "sys/paths.hpp"

#include <deque>
#include <system_error>

namespace kmodguard::sys {

namespace fs = std::filesystem;

fs::path follow_below(const fs::path& root, const fs::path& path) {
    constexpr int max_links = 40; // as the kernel has it (MAXSYMLINKS)
    const fs::path below = path.lexically_relative(root);
    std::deque<fs::path> ahead(below.begin(), below.end());
    fs::path behind; // below the root, without links
    int links = 0;
    bool led_out = false;
    while (!ahead.empty()) {
        const fs::path next = std::move(ahead.front());
        ahead.pop_front();
        if (next.empty() || next == ".") continue;
        if (next == "..") {
            led_out = led_out || behind.empty();
            behind = behind.parent_path();
            continue;
        }
        std::error_code no_link;
        const fs::path target = fs::read_symlink(root / behind / next, no_link);
        if (no_link) {
            behind /= next;
            continue;
        }
        if (++links > max_links) return led_out ? path / "too many links" : path;
        if (target.is_absolute()) {
            led_out = true;
            behind.clear();
        }
        const fs::path inserted = target.relative_path();
        ahead.insert(ahead.begin(), inserted.begin(), inserted.end());
    }
    return led_out ? root / behind : path;
}

Paths::Paths(fs::path root) {
    std::error_code error; // a current directory that is gone, or an empty path
    root_ = fs::absolute(root, error).lexically_normal();
    if (error) root_ = std::move(root);
}

fs::path Paths::below(std::string_view relative) const {
    const fs::path path = root_ / fs::path(relative).relative_path();
    return moved() ? follow_below(root_, path) : path;
}

std::vector<fs::path> Paths::modprobe_configuration() const {
    return {below("etc/modprobe.d"), below("run/modprobe.d"), below("usr/local/lib/modprobe.d"),
            below("lib/modprobe.d")};
}

} // namespace kmodguard::sys
