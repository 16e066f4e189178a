// SPDX-License-Identifier: AGPL-3.0-only
//
// Policies of any size for the sample: half of the entries are module names, half are alias patterns of the
// same kernel; past those that the kernel has, names are invented.
#pragma once

#include "core/policy.hpp"
#include "sample.hpp"

#include <cstddef>

namespace kmodguard::bench {

/// A policy of that many entries that refuses every token of the sample.
[[nodiscard]] core::PolicySource refusing_policy(const Sample& sample, std::size_t entries);

/// The same, but for `denied` more patterns, in deny.aliases, that match nothing of the sample.
[[nodiscard]] core::PolicySource refusing_policy_with_denials(const Sample& sample, std::size_t entries,
                                                              std::size_t denied);

/// A policy of at least that many entries that allows every module of the sample.
[[nodiscard]] core::PolicySource allowing_policy(const Sample& sample, std::size_t entries);

/// Writes the policy as the policy file below the sample's root.
void write_policy(const Sample& sample, const core::PolicySource& policy);

} // namespace kmodguard::bench
