// SPDX-License-Identifier: AGPL-3.0-only
//
// A decision turned into what the hook is to do, as lines of the daemon's answer to AUTOLOAD
// (docs/PROTOCOL.md). Each image is named together with the state in which it was judged, so that the hook
// loads that very file or none.
#pragma once

#include "compiled/unpacked_images.hpp"
#include "core/decision.hpp"
#include "protocol/message.hpp"

#include <vector>

namespace kmodguard::autoload {

struct Plan {
    std::vector<protocol::Field> lines;
    /// What goes along with the answer, in the order of the lines that say so.
    std::vector<compiled::UnpackedImages::Handle> images;
};

/// The plan of `decision`, which was made with `index`. What the kernel takes is handed to it as it is, or as
/// it is kept unpacked in `images`; the rest, and modules with an install command, to the original modprobe.
[[nodiscard]] Plan plan_of(const core::Decision& decision, core::ModuleIndex& index,
                           compiled::UnpackedImages& images);

/// Whether the plan of `decision` has the state of every file that was judged for it, so that the hook
/// notices each that has changed. What an install command loads is in no plan.
[[nodiscard]] bool plan_names_all_files(const core::Decision& decision);

} // namespace kmodguard::autoload
