// SPDX-License-Identifier: AGPL-3.0-only
//
// An event as the line that the JSON-lines file has of it.
#pragma once

#include "events/event_json.hpp"

#include <string>

namespace kmodguard::events {

/// "" of what goes to modules.log alone.
inline std::string line_of(const Event& event) {
    std::string line;
    return append_json(line, event) ? line : "";
}

} // namespace kmodguard::events
