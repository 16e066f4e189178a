// SPDX-License-Identifier: AGPL-3.0-only
//
// "Linux version 6.1.0-56-amd64 (...) #1 SMP ...": the line by which a kernel greets, and the one text that
// every kernel image has. It shows which kernel a guest runs, and where it is shows how a guest's memory
// is laid out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace kmodguard::symbols {

inline constexpr std::uint64_t max_banner = 1024; ///< bytes; real ones have some 200

/// The banner that `bytes` begin with, without its line end; nothing if they begin with anything else, or if
/// it does not end within max_banner bytes as the kernel's does, with a line end and NUL. Source:
/// linux_banner of init/version-timestamp.c.
[[nodiscard]] std::optional<std::string> banner_text(std::span<const std::byte> bytes);

/// Where banners begin, ascending; at most 64 of them. A kernel's log, and another kernel in memory, have
/// such too.
[[nodiscard]] std::vector<std::size_t> find_banners(std::span<const std::byte> bytes);

} // namespace kmodguard::symbols
