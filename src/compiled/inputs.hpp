// SPDX-License-Identifier: AGPL-3.0-only
//
// What an index of modules is made of, so that it can be told whether it still is what it would be made of
// now: depmod's files, those of modprobe.d, and what the running kernel says.
#pragma once

#include "core/module_index.hpp"
#include "sys/file.hpp"
#include "sys/paths.hpp"

#include <filesystem>
#include <map>
#include <string>

namespace kmodguard::compiled {

/// The files of modprobe.d that libkmod reads, by name: one in an earlier folder replaces those of its name
/// in later ones, a link to /dev/null too.
[[nodiscard]] std::map<std::string, std::filesystem::path> modprobe_files(const sys::Paths& paths);

struct Inputs {
    std::string release; ///< of the kernel whose modules they are
    std::filesystem::path root;
    sys::FileStates files; ///< depmod's and those of modprobe.d
    /// What modprobe may read of the running kernel's command line; "" below another root.
    std::string command_line;
    std::string compression; ///< suffix of images that the running kernel decompresses itself

    /// Whether others than these would not be equal to them: sys::has_time_of_change() of all files.
    [[nodiscard]] bool can_be_recognised() const;

    bool operator==(const Inputs&) const = default;
};

/// As they are now.
[[nodiscard]] Inputs inputs_of(const sys::Paths& paths, const std::string& release);
/// Inputs::files alone: all that can become other while a kernel runs. libkmod notices changes only of those
/// of depmod's files that it keeps open, and keeps none open if one is missing or broken; of modprobe.d only
/// that files come and go.
[[nodiscard]] sys::FileStates input_files(const sys::Paths& paths, const std::string& release);

/// What the running kernel itself does not load, from its command line and its settings. What cannot be read
/// counts as no limit: nothing is decided by it.
[[nodiscard]] core::KernelLimits read_kernel_limits(const sys::Paths& paths);

} // namespace kmodguard::compiled
