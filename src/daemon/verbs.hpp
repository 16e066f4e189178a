// SPDX-License-Identifier: AGPL-3.0-only
//
// What the daemon can be asked: a table from verb to answer (docs/PROTOCOL.md).
#pragma once

#include "daemon/engine.hpp"
#include "events/change.hpp"
#include "events/event.hpp"
#include "protocol/message.hpp"

#include <optional>

namespace kmodguard::daemon {

struct Response {
    protocol::Answer answer;
    std::optional<events::Attempt> event = std::nullopt; ///< to be recorded once the answer is on its way
    /// What was done to the guard, or was to be done; without whoever asked. To be recorded as well.
    std::optional<events::Change> change = std::nullopt;
    bool last = false;            ///< close the connection after it
    bool lasting_refusal = false; ///< the token is refused as long as policy and index are the same
};

/// Never fails: whatever is wrong with the request becomes an ERR answer.
[[nodiscard]] Response respond(Engine& engine, const protocol::Request& request);

} // namespace kmodguard::daemon
