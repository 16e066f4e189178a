// SPDX-License-Identifier: AGPL-3.0-only
//
// What the daemon can be asked: a table from verb to answer (docs/PROTOCOL.md).
#pragma once

#include "daemon/engine.hpp"
#include "enforce/kernel/status.hpp"
#include "events/event.hpp"
#include "protocol/message.hpp"

#include <functional>
#include <optional>
#include <vector>

namespace kmodguard::daemon {

struct Response {
    protocol::Answer answer;
    /// Of a decision that a load waits for: to be recorded once the answer is on its way. The connection is
    /// closed then.
    std::optional<events::Attempt> event = std::nullopt;
    std::vector<compiled::UnpackedImages::Handle> images{}; ///< that go along with it
    bool is_asked_again = false;  ///< the event is of a request that was answered a moment ago
    bool lasting_refusal = false; ///< the token is refused as long as policy and index are the same
    /// What was done to the guard, or was to be done, without the process that asked. To be recorded as well.
    std::optional<events::Change> change = std::nullopt;
};

/// What STATUS says and the engine does not know. Either may be empty.
struct StatusSources {
    std::function<std::uint64_t()> events_lost;
    std::function<kernel::Status()> kernel_point;
};

/// Never fails: what is wrong with the request becomes an ERR answer.
[[nodiscard]] Response respond(Engine& engine, const protocol::Request& request,
                               const StatusSources& sources = {});

} // namespace kmodguard::daemon
