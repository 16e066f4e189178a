// SPDX-License-Identifier: AGPL-3.0-only
//
// Owners of sd-event(3)'s objects. A source that is let go of is never called again.
#pragma once

#include <systemd/sd-event.h>

#include <memory>

namespace kmodguard::daemon {

struct Unref {
    void operator()(sd_event* loop) const { sd_event_unref(loop); }
    void operator()(sd_event_source* source) const { sd_event_source_disable_unref(source); }
};
using EventLoop = std::unique_ptr<sd_event, Unref>;
using EventSource = std::unique_ptr<sd_event_source, Unref>;

} // namespace kmodguard::daemon
