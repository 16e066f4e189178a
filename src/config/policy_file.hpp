// SPDX-License-Identifier: AGPL-3.0-only
//
// Policy files to core::PolicySource: the main file, then the drop-ins in name order. A policy with any error
// is no policy: the caller keeps the one in force, and shows all errors at once, so that one round of repair
// is enough.
#pragma once

#include "config/diagnostic.hpp"
#include "config/policy_location.hpp"
#include "config/policy_schema.hpp"
#include "core/policy.hpp"

#include <expected>
#include <string>
#include <string_view>

namespace kmodguard::config {

/// YAML for names that end in .yaml or .yml, TOML for all others.
[[nodiscard]] Form form_of(const std::filesystem::path& file);

/// A policy that can be used, and what is odd about it all the same.
struct LoadedPolicy {
    core::PolicySource source;
    Diagnostics warnings;
};

/// Errors and warnings if it cannot be used: at least one error.
using PolicyResult = std::expected<LoadedPolicy, Diagnostics>;

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

} // namespace kmodguard::config
