// SPDX-License-Identifier: AGPL-3.0-only
#include "daemon/handler_watch.hpp"

#include "enforce/autoload/handler.hpp"

#include <utility>

namespace kmodguard::daemon {

std::optional<std::string> HandlerWatch::look(Occasion occasion) {
    const auto handler = autoload::handler_setting(paths_);
    if (!handler || !handler->taken_away()) {
        reported_.reset();
        seen_by_timer_ = false;
        return std::nullopt;
    }
    if (handler->current == handler->original) {
        if (occasion == Occasion::request || !std::exchange(seen_by_timer_, true)) return std::nullopt;
    }
    if (reported_ == handler->current) return std::nullopt;
    reported_ = handler->current.value_or("");
    return reported_;
}

} // namespace kmodguard::daemon
