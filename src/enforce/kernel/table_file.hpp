// SPDX-License-Identifier: AGPL-3.0-only
//
// What the kernel point was sealed with, in a file: in the kernel no process can read it any more, and to
// know what a later policy would loosen or take away takes that. Nothing is enforced by the file, and it is
// not believed either: the kernel has its hash, and tells which of its names were taken away since. Without
// it the policy can not be tightened.
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

/// SHA-256 of that content.
[[nodiscard]] sys::Result<core::Sha256> hash_of(const Table& table);

[[nodiscard]] sys::Result<void> save_table(const std::filesystem::path& path, const Table& table);
/// ErrorKind::invalid if it is none.
[[nodiscard]] sys::Result<Table> load_table(const std::filesystem::path& path);

} // namespace kmodguard::kernel
