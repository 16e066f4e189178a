// SPDX-License-Identifier: AGPL-3.0-only
//
// What the kernel point was sealed with, in a file. In the kernel nobody can read it any more, and who is to
// say what a later policy would loosen or take away has to know. Nothing is enforced by the file: whoever
// edits it can at most keep the policy from being tightened, as he could by ending the daemon.
#pragma once

#include "enforce/kernel/table.hpp"
#include "sys/result.hpp"

#include <filesystem>
#include <string>
#include <string_view>

namespace kmodguard::kernel {

/// The file's content: names and rules as they are in memory.
[[nodiscard]] std::string text_of_table(const Table& table);
[[nodiscard]] sys::Result<Table> parse_table(std::string_view content);

[[nodiscard]] sys::Result<void> save_table(const std::filesystem::path& path, const Table& table);
/// ErrorKind::invalid if it is none.
[[nodiscard]] sys::Result<Table> load_table(const std::filesystem::path& path);

} // namespace kmodguard::kernel
