// SPDX-License-Identifier: AGPL-3.0-only
//
// Every alias in depmod's index. libkmod looks aliases up one at a time, by token; all of them it only writes
// to a descriptor. Here that is one in memory, which is gone again with the mapped index when they have been
// visited: the caller keeps what it needs of some 26,000, and the daemon stays small.
#pragma once

#include "sys/result.hpp"

#include <filesystem>
#include <functional>
#include <string_view>

namespace kmodguard::modules {

using AliasVisitor = std::function<void(std::string_view alias, std::string_view module)>;

/// Calls `visit` with every alias of modules.alias.bin in `directory`, as depmod folded it, and the name of
/// its module. On failure it was called with none.
[[nodiscard]] sys::Result<void> for_each_indexed_alias(const std::filesystem::path& directory,
                                                       const AliasVisitor& visit);

/// The same for the names of all modules, each as if it were an alias of that module.
[[nodiscard]] sys::Result<void> for_each_indexed_name(const std::filesystem::path& directory,
                                                      const AliasVisitor& visit);

} // namespace kmodguard::modules
