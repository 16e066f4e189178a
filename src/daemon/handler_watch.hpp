// SPDX-License-Identifier: AGPL-3.0-only
//
// Notices that kernel.modprobe was changed behind the guard's back. The kernel tells nobody, so it is looked
// at now and then.
#pragma once

#include "sys/paths.hpp"

#include <optional>
#include <string>

namespace kmodguard::daemon {

class HandlerWatch {
  public:
    explicit HandlerWatch(sys::Paths paths) : paths_(std::move(paths)) {}

    enum class Occasion { request, timer };

    /// The handler in force, once each time that somebody has made it another than the one that was armed.
    /// The original one counts at the second look of the timer only: kmodctl arms and disarms in two steps,
    /// between which it is as if somebody else had put it back.
    [[nodiscard]] std::optional<std::string> look(Occasion occasion);

  private:
    sys::Paths paths_;
    std::optional<std::string> reported_;
    bool seen_by_timer_ = false; ///< the original, while the hook was to be there
};

} // namespace kmodguard::daemon
