// SPDX-License-Identifier: AGPL-3.0-only
//
// What an image is that lies in the guest's memory. As little of it is fetched as tells its names: the guest
// stands still, or is kept from its work, for every piece.
#pragma once

#include "core/module_index.hpp"
#include "core/policy.hpp"
#include "enforce/guest/load_info.hpp"
#include "enforce/guest/visit.hpp"

#include <string>

namespace kmodguard::guest {

struct GuestImageOptions {
    const core::Policy& policy; ///< the content of what it pins is looked at whole
    bool hash = false;          ///< of every other image too
    bool of_process = false;    ///< the image is in the calling process's memory, not in the kernel's
};

/// The names, and where wanted the hash, of the image that `visit`'s task is about to load. What is wrong
/// with it is in the facts; an error only if the guest cannot be looked at any more.
[[nodiscard]] Task<sys::Result<core::ImageFacts>> identify_in_guest(Visit& visit, LoadInfo info,
                                                                    GuestImageOptions options);

/// The facts of an image that cannot be judged, and so is refused.
[[nodiscard]] core::ImageFacts unreadable(std::string why);

/// Whether an error means that the guest is out of reach, not only a part of it.
[[nodiscard]] bool is_lost(const sys::Error& error);

} // namespace kmodguard::guest
