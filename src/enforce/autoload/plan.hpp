// SPDX-License-Identifier: AGPL-3.0-only
//
// A decision turned into what the hook is to do, as lines of the daemon's answer to AUTOLOAD
// (docs/PROTOCOL.md). Each image is named together with the state in which it was judged, so that the hook
// loads that very file or none.
#pragma once

#include "core/decision.hpp"
#include "modules/kmod_index.hpp"
#include "protocol/message.hpp"

#include <string_view>
#include <vector>

namespace kmodguard::autoload {

/// The plan of `decision`, which `index` has just made. Images compressed as `in_kernel_compression` (".xz",
/// or "") are handed to the kernel as they are; others, and modules with an install command, to the original
/// modprobe.
[[nodiscard]] std::vector<protocol::Field> plan_of(const core::Decision& decision, modules::KmodIndex& index,
                                                   std::string_view in_kernel_compression);

/// Whether every image of the plan still is in the state in which `index` judged it.
[[nodiscard]] bool is_current(const core::Decision& decision, modules::KmodIndex& index);

} // namespace kmodguard::autoload
