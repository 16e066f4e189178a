// SPDX-License-Identifier: AGPL-3.0-only
//
// Time since the machine started, the time in which it was suspended included: an hour is over after an hour,
// also on a laptop that was closed meanwhile.
#pragma once

#include <time.h> // NOLINT(modernize-deprecated-headers): clock_gettime

#include <chrono>

namespace kmodguard::sys {

/// CLOCK_BOOTTIME. It is never set, and cannot fail.
struct BootClock {
    using duration = std::chrono::nanoseconds;
    using rep = duration::rep;
    using period = duration::period;
    using time_point = std::chrono::time_point<BootClock>;
    static constexpr bool is_steady = true;

    [[nodiscard]] static time_point now() noexcept {
        timespec time{};
        ::clock_gettime(CLOCK_BOOTTIME, &time);
        return time_point(std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec));
    }
};

} // namespace kmodguard::sys
