// SPDX-License-Identifier: AGPL-3.0-only
//
// The daemon as a whole: engine, server, log, signals, watchdog, on one event loop.
#pragma once

#include "sys/paths.hpp"
#include "sys/result.hpp"

#include <filesystem>

namespace kmodguard::daemon {

struct ServiceOptions {
    sys::Paths paths;
    std::filesystem::path events_file; ///< JSON lines; empty: none
    int ready_fd = -1;                 ///< gets a newline when requests are served, then is closed
    bool background = false;           ///< let go of the standard streams once ready
};

/// Runs until SIGTERM or SIGINT. Returns an error only if it could not start.
[[nodiscard]] sys::Result<void> run_service(const ServiceOptions& options);

} // namespace kmodguard::daemon
