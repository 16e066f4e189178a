// SPDX-License-Identifier: AGPL-3.0-only
//
// Which files a policy is. Nothing in them is read here: so who only wants to know whether they have changed
// needs no parser.
#pragma once

#include "config/diagnostic.hpp"
#include "sys/paths.hpp"

#include <cstddef>
#include <cstdint>
#include <expected>
#include <filesystem>
#include <functional>
#include <system_error>
#include <vector>

namespace kmodguard::config {

struct PolicyLimits {
    std::size_t file_bytes = std::size_t{4} * 1024 * 1024; ///< of one file
    std::size_t drop_ins = 256;                            ///< files in the drop-in directory
    std::size_t entries = 100'000;                         ///< in all files together, pins included
};

/// Where policy files are.
struct PolicyLocation {
    // NOLINTBEGIN(google-explicit-constructor): a location is written where one is wanted
    /// The machine's own. Links below another root than the running machine's do not lead out of it.
    PolicyLocation(const sys::Paths& paths);
    PolicyLocation(std::filesystem::path file, std::filesystem::path directory = {});
    // NOLINTEND(google-explicit-constructor)

    std::filesystem::path main_file;
    std::filesystem::path drop_in_directory; ///< may be missing; "": there is none
    std::filesystem::path root = "/";
};

/// Those that are `unread` were meant to be read, perhaps.
struct DropIns {
    std::vector<std::filesystem::path> read;
    std::vector<std::filesystem::path> unread;
};
/// In the order of their names.
[[nodiscard]] std::expected<DropIns, Diagnostic> find_drop_ins(const PolicyLocation& location,
                                                               const PolicyLimits& limits = {});

/// The files load_policy would read, in its order; an error if the directory cannot be listed or holds too
/// many.
[[nodiscard]] std::expected<std::vector<std::filesystem::path>, Diagnostic>
policy_files(const PolicyLocation& location, const PolicyLimits& limits = {});

/// Calls `take` with each path in `directory` until it returns false. No directory is an empty one.
[[nodiscard]] std::error_code each_file(const std::filesystem::path& directory,
                                        const std::function<bool(const std::filesystem::path&)>& take);

} // namespace kmodguard::config
