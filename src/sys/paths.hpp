// SPDX-License-Identifier: AGPL-3.0-only
//
// Every path that kmodguard touches, all here, below a root that tests and images can move. Below another
// root than the machine's own, in an image of another machine, an absolute link means a path below that root,
// and
// "../" does not lead out of it. The kernel would follow both into the running machine.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace kmodguard::sys {

/// The file that `path`, which is below `root`, is for a system whose root that is. `path` itself, as it is,
/// if no link on it leads out of `root`: then the kernel finds the same. What does not exist is taken as it
/// is named. A path that winds through more than 40 links leads nowhere: if one of them leads out, it comes
/// back with one component too many, so that it cannot be opened.
[[nodiscard]] std::filesystem::path follow_below(const std::filesystem::path& root,
                                                 const std::filesystem::path& path);

class Paths {
  public:
    using Path = std::filesystem::path;

    Paths() : Paths("/") {}
    /// Paths below `root`: the argument of --root, or the environment's KMODGUARD_ROOT.
    explicit Paths(Path root);

    [[nodiscard]] const Path& root() const { return root_; }
    [[nodiscard]] bool moved() const {
        return root_.native() != "/";
    } ///< another root than the machine's own
    /// The file that `relative` is below the root: follow_below(), so for all paths here.
    [[nodiscard]] Path below(std::string_view relative) const;

    [[nodiscard]] Path policy() const { return below("etc/kmodguard/policy.toml"); }
    [[nodiscard]] Path policy_drop_ins() const { return below("etc/kmodguard/policy.d"); }
    [[nodiscard]] Path runtime_directory() const { return below("run/kmodguard"); }
    [[nodiscard]] Path socket() const { return below("run/kmodguard/daemon.sock"); }
    [[nodiscard]] Path original_handler() const { return below("run/kmodguard/original_modprobe"); }
    /// What the kernel point was sealed with: it cannot be read back.
    [[nodiscard]] Path sealed_table() const { return below("run/kmodguard/sealed_table"); }
    /// The compiled index of the modules of kernel `release`, kept for the next start.
    [[nodiscard]] Path kept_index(const std::string& release) const {
        return below("var/lib/kmodguard/" + std::string(kept_index_name) + release);
    }
    /// The policy as it was read the last time that it could be.
    [[nodiscard]] Path kept_policy() const { return below("var/lib/kmodguard/policy"); }
    static constexpr std::string_view kept_index_name = "index-"; ///< and the release
    /// The aliases that the images of kernel `release` say they have.
    [[nodiscard]] Path kept_images(const std::string& release) const {
        return below("var/lib/kmodguard/" + std::string(kept_images_name) + release);
    }
    static constexpr std::string_view kept_images_name = "images-"; ///< and the release
    [[nodiscard]] Path handler_setting() const { return below("proc/sys/kernel/modprobe"); }
    [[nodiscard]] Path loaded_modules() const { return below("proc/modules"); }
    [[nodiscard]] Path kernel_command_line() const { return below("proc/cmdline"); }
    [[nodiscard]] Path loading_disabled() const { return below("proc/sys/kernel/modules_disabled"); }
    [[nodiscard]] Path signature_setting() const { return below("sys/module/module/parameters/sig_enforce"); }
    [[nodiscard]] Path lockdown() const { return below("sys/kernel/security/lockdown"); }
    [[nodiscard]] Path memory_pressure() const { return below("proc/pressure/memory"); }
    [[nodiscard]] Path compression() const { return below("sys/module/compression"); }
    /// The devices of each kind.
    [[nodiscard]] Path buses() const { return below("sys/bus"); }
    /// Where modprobe.d files are read from, strongest first (modprobe.d(5)).
    [[nodiscard]] std::vector<Path> modprobe_configuration() const;
    [[nodiscard]] Path modules(const std::string& release) const { return below("lib/modules/" + release); }

  private:
    Path root_;
};

} // namespace kmodguard::sys
