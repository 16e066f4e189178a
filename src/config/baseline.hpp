// SPDX-License-Identifier: AGPL-3.0-only
//
// A policy as a fresh file, for `kmodctl init` and `convert`. People start from this file and keep it for
// years, so it explains its keys where they stand, and its lists are sorted, one entry a line: such a file is
// easy to compare and to merge.
#pragma once

#include "core/policy.hpp"

#include <span>
#include <string>

namespace kmodguard::config {

/// `source` as a version 1 TOML file, which parses back to the same lists (sorted, each entry once) and
/// settings. `header` are comment lines for its top, without '#'. Not kept: from which file an entry came.
[[nodiscard]] std::string render_policy(const core::PolicySource& source,
                                        std::span<const std::string> header = {});

} // namespace kmodguard::config
