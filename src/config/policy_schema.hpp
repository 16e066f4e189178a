// SPDX-License-Identifier: AGPL-3.0-only
//
// The two forms of a policy as code: which keys there are, what each takes, what to report where it is
// something else, and how a policy is written. Works on the plain tree, so that it knows neither files nor
// syntax.
#pragma once

#include "config/diagnostic.hpp"
#include "config/document.hpp"
#include "core/policy.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kmodguard::config {

/// How a policy file is written; config::form_of tells it from the file's name.
enum class Form { toml, yaml };

/// The version that this program reads and writes.
inline constexpr int policy_version = 1;

/// The emulation framework's own module, which its projects never list.
inline constexpr std::string_view framework_module = "igloo";

/// Adds what `root`, a document of version 1, has to `source`: lists grow, settings are replaced. The file is
/// source.files[file]. Every error and warning goes to `diagnostics` (the first thousand; then one that says
/// so). At most `max_entries` entries may be in `source` afterwards, pins included.
void read_schema(const Node& root, core::PolicySource& source, std::uint32_t file, std::size_t max_entries,
                 Diagnostics& diagnostics);

/// `source` as a fresh file of version 1, for `kmodctl init` and `convert`: it parses back to the same lists
/// (sorted, each entry once) and settings. People start from this file and keep it for years, so it explains
/// its keys, and has one entry a line: such a file is easy to compare and to merge. `header` are comment
/// lines for its top, without '#'. Not kept: from which file an entry came.
[[nodiscard]] std::string render_policy(const core::PolicySource& source,
                                        std::span<const std::string> header = {});

/// Whether every key has the same value in both, lists and pins in the same order.
[[nodiscard]] bool same_meaning(const core::PolicySource& a, const core::PolicySource& b);

/// The names of all keys of version 1: "mode", "allow.modules", "pin.sha256".
[[nodiscard]] std::vector<std::string> policy_keys();

/// The second form: what an emulation project has for its plugin `kmods`, read with the meaning that the
/// plugin gives it. Such projects have their allowlists written down already, in a file that is about much
/// else; so what is not plugins.kmods is passed over, and what is gets read as strictly as a TOML policy.
///
/// Adds plugins.kmods of `root` to `source`; a project's configuration ("core" is a mapping) without it is
/// read as one with `kmods: {}`. That is: enforce; allowed is what allowlist names and the framework's own
/// module, denied what denylist names, and the denied wins; no dependencies; refused programs get success.
/// The rest as with read_schema.
void read_yaml_schema(const Node& root, core::PolicySource& source, std::uint32_t file,
                      std::size_t max_entries, Diagnostics& diagnostics);

/// The same of a file that the framework merges into a configuration that was read before: its lists add up
/// with that one's, its quiet replaces that one's, and it need not have any of it.
void read_yaml_patch(const Node& root, core::PolicySource& source, std::uint32_t file,
                     std::size_t max_entries, Diagnostics& diagnostics);

/// Which other files the framework merges into the configuration `root`, in its order.
struct YamlPatches {
    struct Named {
        std::string path; ///< as written: from the configuration's folder on
        Position at;
    };
    std::vector<Named> named; ///< under "patches"
    bool beside = false;      ///< then also patch_*.yaml and patches/*.yaml in that folder, by name
};
[[nodiscard]] YamlPatches yaml_patches(const Node& root, const core::PolicySource& source, std::uint32_t file,
                                       Diagnostics& diagnostics);

} // namespace kmodguard::config
