// SPDX-License-Identifier: AGPL-3.0-only
//
// Version 1 of the policy file as code: which keys there are, what each takes, and what to say when it is
// something else. Works on the plain tree, so that it knows neither files nor TOML syntax.
#pragma once

#include "config/diagnostic.hpp"
#include "config/document.hpp"
#include "core/policy.hpp"

#include <cstddef>
#include <cstdint>

namespace kmodguard::config {

/// The version that this program reads and writes.
inline constexpr int policy_version = 1;

/// Adds what `root` holds to `source`: lists grow, settings are replaced. The file is source.files[file].
/// Every error and warning goes to `diagnostics` (the first thousand; then one that says so), in the order of
/// the file. At most `max_entries` entries may be in `source` afterwards, pins included.
void read_schema(const Node& root, core::PolicySource& source, std::uint32_t file, std::size_t max_entries,
                 Diagnostics& diagnostics);

/// Entries that stand in a list twice, modules both allowed and denied, pins given twice: warnings by file
/// and line. None of them changes a decision, and all of them surprise a reader later.
[[nodiscard]] Diagnostics find_overlaps(const core::PolicySource& source);

} // namespace kmodguard::config
