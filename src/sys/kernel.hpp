// SPDX-License-Identifier: AGPL-3.0-only
//
// Facts about the running kernel.
#pragma once

#include "sys/paths.hpp"
#include "sys/result.hpp"

#include <time.h> // NOLINT(modernize-deprecated-headers): clock_gettime

#include <chrono>
#include <optional>
#include <string>
#include <vector>

namespace kmodguard::sys {

/// uname -r.
[[nodiscard]] std::string kernel_release();

/// The last value of `key` on the kernel's command line ("key=value"; quotes are not interpreted).
[[nodiscard]] std::optional<std::string> kernel_parameter(const Paths& paths, std::string_view key);

/// Names of the modules that are loaded now (proc(5), /proc/modules). An error where that is not known: /proc
/// is not mounted, or the kernel is one without modules.
[[nodiscard]] Result<std::vector<std::string>> loaded_modules(const Paths& paths);

/// Whether the running kernel has a module, live, that calls itself `name`. False of what is built in, and
/// where that cannot be seen.
[[nodiscard]] bool has_live_module(std::string_view name);

/// Whether processes had to wait for memory for a tenth of the last ten seconds (PSI,
/// Documentation/accounting/psi.rst). False where the kernel does not count that.
[[nodiscard]] bool is_memory_short(const Paths& paths);

/// The aliases by which the devices of this machine ask for a driver (sysfs, modalias); at most a million.
/// None where sysfs has none, or is not there.
[[nodiscard]] std::vector<std::string> device_aliases(const Paths& paths);

/// Suffix of the compressed images that this kernel decompresses by itself: ".xz", ".zst", ".gz"; "" if none.
[[nodiscard]] std::string in_kernel_compression(const Paths& paths);

/// Time since the machine started, the time in which it was suspended included (CLOCK_BOOTTIME): an hour is
/// over after an hour, also on a laptop that was closed meanwhile. It is never set, and cannot fail.
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
