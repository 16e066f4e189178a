// SPDX-License-Identifier: AGPL-3.0-only
//
// What else than the policy keeps a module out: modprobe.d and the kernel. Nothing is decided by it; it is
// said, since "allowed" alone is taken for "loads".
#pragma once

#include "core/decision.hpp"

#include <optional>

namespace kmodguard::core {

/// Adds to `decision`, by its chain, which commands are run and what keeps the module out.
void add_hindrances(ModuleDecision& decision, ModuleIndex& index);

/// What keeps an image out whatever the file that it comes from.
[[nodiscard]] std::optional<KeptOut> hindrance_of(const ImageFacts& facts, const KernelLimits& limits);

} // namespace kmodguard::core
