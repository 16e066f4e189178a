// SPDX-License-Identifier: AGPL-3.0-only
//
// The daemon's life: in systemd's hands where systemd runs, in ours elsewhere.
#pragma once

#include "sys/paths.hpp"
#include "sys/result.hpp"

namespace kmodguard::ctl {

inline constexpr const char* service_unit = "kmodguard.service";

/// Whether systemd is this machine's init (sd_booted(3)), and the paths are the machine's own.
[[nodiscard]] bool managed_by_systemd(const sys::Paths& paths);

/// Whether a daemon answers.
[[nodiscard]] bool daemon_runs(const sys::Paths& paths);

/// Returns once the daemon serves requests. Already running is fine.
[[nodiscard]] sys::Result<void> start_daemon(const sys::Paths& paths);

/// Returns once it has ended. Not running is fine.
[[nodiscard]] sys::Result<void> stop_daemon(const sys::Paths& paths);

/// Whether systemd is stopping the service because it was asked to, and not in order to start it
/// again. No answer means no: then the machine stays armed.
[[nodiscard]] bool is_stopping();

} // namespace kmodguard::ctl
