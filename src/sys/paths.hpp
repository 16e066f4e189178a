// SPDX-License-Identifier: AGPL-3.0-only
//
// Every path that kmodguard touches, all here, below a root that tests and images can move.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace kmodguard::sys {

class Paths {
  public:
    Paths();
    /// Paths below `root`: the argument of --root, or the environment's KMODGUARD_ROOT.
    explicit Paths(std::filesystem::path root);

    [[nodiscard]] const std::filesystem::path& root() const { return root_; }
    [[nodiscard]] bool moved() const; ///< another root than the machine's own
    /// The file that `relative` is below the root. Links of another machine's image do not lead out of it
    /// (follow_below()); so it is for all paths here.
    [[nodiscard]] std::filesystem::path below(const std::filesystem::path& relative) const;

    [[nodiscard]] std::filesystem::path policy() const;
    [[nodiscard]] std::filesystem::path policy_drop_ins() const;
    [[nodiscard]] std::filesystem::path runtime_directory() const;
    [[nodiscard]] std::filesystem::path socket() const;
    [[nodiscard]] std::filesystem::path original_handler() const;
    /// What the kernel point was sealed with: it cannot be read back.
    [[nodiscard]] std::filesystem::path sealed_table() const;
    [[nodiscard]] std::filesystem::path handler_setting() const;
    [[nodiscard]] std::filesystem::path loaded_modules() const;
    [[nodiscard]] std::filesystem::path kernel_command_line() const;
    /// kernel.modules_disabled.
    [[nodiscard]] std::filesystem::path loading_disabled() const;
    /// module.sig_enforce.
    [[nodiscard]] std::filesystem::path signature_setting() const;
    [[nodiscard]] std::filesystem::path lockdown() const;
    [[nodiscard]] std::filesystem::path compression() const;
    /// The devices of each kind.
    [[nodiscard]] std::filesystem::path buses() const;
    /// Where modprobe.d files are read from, strongest first (modprobe.d(5)).
    [[nodiscard]] std::vector<std::filesystem::path> modprobe_configuration() const;
    /// /lib/modules/RELEASE.
    [[nodiscard]] std::filesystem::path modules(const std::string& release) const;

  private:
    std::filesystem::path root_;
};

} // namespace kmodguard::sys
