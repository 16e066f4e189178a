// SPDX-License-Identifier: AGPL-3.0-only
//
// What kmodctl does to the guard by itself is recorded as well as what the daemon does for it.
#pragma once

#include "ctl/context.hpp"
#include "events/event.hpp"
#include "sys/result.hpp"

namespace kmodguard::ctl {

/// Records that this process has done `action`, or why it has not: in the daemon, which knows who asks, and
/// where none answers in the system's log.
void record_change(const Context& context, events::Action action, const sys::Error* error = nullptr);

/// The same for something that failed, and Context::fail().
[[nodiscard]] int record_failure(const Context& context, events::Action action, const sys::Error& error);

} // namespace kmodguard::ctl
