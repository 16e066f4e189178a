// SPDX-License-Identifier: AGPL-3.0-only
//
// Where the daemon's events go: the journal, or syslog and standard error where there is none; with another
// root standard error alone; and a file of JSON lines where one was asked for.
#pragma once

#include "events/sinks.hpp"
#include "sys/paths.hpp"
#include "sys/result.hpp"

#include <filesystem>
#include <memory>
#include <vector>

namespace kmodguard::daemon {

/// `events_file`: "" for none. Fails if it cannot be opened.
[[nodiscard]] sys::Result<std::vector<std::unique_ptr<events::Sink>>>
make_sinks(const sys::Paths& paths, const std::filesystem::path& events_file);

} // namespace kmodguard::daemon
