// SPDX-License-Identifier: AGPL-3.0-only
#include "sys/paths.hpp"

#include <deque>
#include <system_error>

namespace kmodguard::sys {
namespace {

namespace fs = std::filesystem;

constexpr int max_links = 40; // as the kernel has it (MAXSYMLINKS)

class Walk {
  public:
    Walk(const fs::path& root, const fs::path& path) : root_(root) {
        put_first(path.lexically_relative(root));
    }

    /// Whether it came to an end.
    bool go() {
        while (!ahead_.empty()) {
            const fs::path next = std::move(ahead_.front());
            ahead_.pop_front();
            if (next.empty() || next == ".") continue;
            if (next == "..")
                go_up();
            else if (!enter(next))
                return false;
        }
        return true;
    }

    [[nodiscard]] bool led_out() const { return led_out_; }
    [[nodiscard]] fs::path found() const { return root_ / behind_; }

  private:
    void put_first(const fs::path& path) { ahead_.insert(ahead_.begin(), path.begin(), path.end()); }

    void go_up() {
        if (behind_.empty())
            led_out_ = true;
        else
            behind_ = behind_.parent_path();
    }

    bool enter(const fs::path& name) {
        std::error_code no_link;
        const fs::path target = fs::read_symlink(root_ / behind_ / name, no_link);
        if (no_link) {
            behind_ /= name;
            return true;
        }
        if (++links_ > max_links) return false;
        if (target.is_absolute()) {
            led_out_ = true;
            behind_.clear();
            put_first(target.relative_path());
        } else {
            put_first(target);
        }
        return true;
    }

    const fs::path& root_;
    fs::path behind_; ///< below the root, without links
    std::deque<fs::path> ahead_;
    int links_ = 0;
    bool led_out_ = false;
};

} // namespace

fs::path follow_below(const fs::path& root, const fs::path& path) {
    Walk walk(root, path);
    if (!walk.go()) return walk.led_out() ? path / "too many links" : path;
    return walk.led_out() ? walk.found() : path;
}

Paths::Paths() : Paths("/") {}

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
