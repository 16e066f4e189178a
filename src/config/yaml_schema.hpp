// SPDX-License-Identifier: AGPL-3.0-only
//
// The second form of a policy: what an emulation project tells its plugin `kmods`, read with the meaning that
// the plugin gives it. Such projects have their allowlists written down already, in a file that is about much
// else; so what is not plugins.kmods is passed over, and what is gets read as strictly as a TOML policy.
#pragma once

#include "config/diagnostic.hpp"
#include "config/document.hpp"
#include "core/policy.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace kmodguard::config {

/// The emulation framework's own module, which such projects never list.
inline constexpr std::string_view framework_module = "igloo";

/// Adds what plugins.kmods of `root` says to `source`; a project's configuration ("core" is a mapping)
/// without it says what `kmods: {}` says. That is: enforce; allowed is what allowlist names and the
/// framework's own module, denied what denylist names, and the denied wins; no dependencies; refused programs
/// get success. The file is source.files[file]; findings and limits as with read_schema.
void read_yaml_schema(const Node& root, core::PolicySource& source, std::uint32_t file,
                      std::size_t max_entries, Diagnostics& diagnostics);

/// The same of a file that the framework merges into a configuration that was read before: its lists add up
/// with that one's, its quiet replaces that one's, and it need not say anything.
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
