// SPDX-License-Identifier: AGPL-3.0-only
//
// A decision turned into what the hook is to do, as lines of the daemon's answer to AUTOLOAD
// (docs/PROTOCOL.md). Each image is named together with the state in which it was judged, so that the hook
// loads that very file or none.
#pragma once

#include "core/decision.hpp"
#include "protocol/message.hpp"

#include <vector>

namespace kmodguard::autoload {

/// The plan of `decision`, which was made with `index`. What the kernel takes is handed to it as it is; the
/// rest, and modules with an install command, to the original modprobe.
[[nodiscard]] std::vector<protocol::Field> plan_of(const core::Decision& decision, core::ModuleIndex& index);

} // namespace kmodguard::autoload
