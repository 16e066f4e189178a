// SPDX-License-Identifier: AGPL-3.0-only
//
// Policy files to core::PolicySource: the main file, then the drop-ins in name order. A policy with any error
// is no policy: the caller keeps the one in force, and shows all errors at once, so that one round of repair
// is enough.
#pragma once

#include "config/diagnostic.hpp"
#include "config/policy_schema.hpp"
#include "core/policy.hpp"
#include "sys/paths.hpp"

#include <cstddef>
#include <expected>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace kmodguard::config {

/// YAML for names that end in .yaml or .yml, TOML for all others.
[[nodiscard]] Form form_of(const std::filesystem::path& file);

struct PolicyLimits {
    std::size_t file_bytes = std::size_t{4} * 1024 * 1024; ///< of one file
    std::size_t drop_ins = 256;                            ///< files in the drop-in directory
    std::size_t entries = 100'000;                         ///< in all files together, pins included
};

/// A policy that can be used, and what is odd about it all the same.
struct LoadedPolicy {
    core::PolicySource source;
    Diagnostics warnings;
};

/// Errors and warnings if it cannot be used: at least one error.
using PolicyResult = std::expected<LoadedPolicy, Diagnostics>;

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

/// Reads the main file, then every `*.toml` of the drop-in directory in the order of their names, names that
/// begin with a dot, and links to /dev/null, left out; files with other names are warned of. A drop-in
/// without any key means nothing. Lists add up; of a setting given twice the last one holds. The main file
/// may not be missing, and may be YAML. The paths are shown, and kept in source.files, as given. With a YAML
/// file come the patches that it names, or that lie beside it (YamlPatches); one called core_config.yaml has
/// them in it already.
[[nodiscard]] PolicyResult load_policy(const PolicyLocation& location, const PolicyLimits& limits = {});

/// One text by itself, shown as `shown_name`, whose suffix tells its form as that of a file does.
[[nodiscard]] PolicyResult parse_policy(std::string_view text, const std::string& shown_name,
                                        const PolicyLimits& limits = {});

/// The files and directories of a policy that others than root, or than the caller's user, can change:
/// warnings, which load_policy gives too. The directories count where there is one of drop-ins.
[[nodiscard]] Diagnostics writable_by_others(const PolicyLocation& location);

/// The files load_policy would read, in its order; an error if the directory cannot be listed or holds too
/// many.
[[nodiscard]] std::expected<std::vector<std::filesystem::path>, Diagnostic>
policy_files(const PolicyLocation& location, const PolicyLimits& limits = {});

} // namespace kmodguard::config
