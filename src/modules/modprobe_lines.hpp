// SPDX-License-Identifier: AGPL-3.0-only
//
// Lines of modprobe.d that are not obeyed. libkmod reports on standard error, and before a caller can set a
// handler, that it passes over them; the one who wrote "blacklsit" has to know where it is.
#pragma once

#include "sys/paths.hpp"

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace kmodguard::modules {

struct IgnoredLine {
    std::filesystem::path file;
    unsigned line = 0; ///< where it begins, from 1
    std::string word;  ///< its first
    bool operator==(const IgnoredLine&) const = default;
};

/// Of the files that libkmod reads, in its order. Unreadable ones are skipped, as it skips them, and those of
/// more than a megabyte.
[[nodiscard]] std::vector<IgnoredLine> ignored_lines(const sys::Paths& paths);

/// The same of one file's text, which is hostile.
[[nodiscard]] std::vector<IgnoredLine> ignored_lines_of(std::string_view text);

} // namespace kmodguard::modules
