// SPDX-License-Identifier: AGPL-3.0-only
//
// Owners of sd-event(3)'s objects. A source that is let go of is never called again.
#pragma once

#include <sys/epoll.h>
#include <systemd/sd-event.h>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <ctime>
#include <memory>

namespace kmodguard::daemon {

struct Unref {
    void operator()(sd_event* loop) const { sd_event_unref(loop); }
    void operator()(sd_event_source* source) const { sd_event_source_disable_unref(source); }
};
using EventLoop = std::unique_ptr<sd_event, Unref>;
using EventSource = std::unique_ptr<sd_event_source, Unref>;

/// Calls `method` of `owner` whenever `fd` can be read. Empty, with errno, if that cannot be had.
template <auto method, typename Owner>
[[nodiscard]] EventSource watch_input(sd_event* loop, int fd, Owner* owner) {
    const auto call = [](sd_event_source*, int, std::uint32_t, void* self) {
        (static_cast<Owner*>(self)->*method)();
        return 0;
    };
    sd_event_source* source = nullptr;
    errno = -sd_event_add_io(loop, &source, fd, EPOLLIN, call, owner);
    return EventSource(source);
}

/// A timer that calls `method` of `owner` each time that it was started and has run out. Empty, with errno,
/// if it cannot be had.
template <auto method, typename Owner>
[[nodiscard]] EventSource stopped_timer(sd_event* loop, clockid_t clock, Owner* owner) {
    const auto call = [](sd_event_source*, std::uint64_t, void* self) {
        (static_cast<Owner*>(self)->*method)();
        return 0;
    };
    sd_event_source* source = nullptr;
    errno = -sd_event_add_time(loop, &source, clock, 0, 0, call, owner);
    if (source != nullptr) sd_event_source_set_enabled(source, SD_EVENT_OFF);
    return EventSource(source);
}

inline void start_timer(const EventSource& timer, std::chrono::microseconds time) {
    sd_event_source_set_time_relative(timer.get(), static_cast<std::uint64_t>(time.count()));
    sd_event_source_set_enabled(timer.get(), SD_EVENT_ONESHOT);
}

} // namespace kmodguard::daemon
