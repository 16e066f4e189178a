// SPDX-License-Identifier: AGPL-3.0-only
//
// Where events go. Which of them a program uses is its own business.
#pragma once

#include "events/recorder.hpp"
#include "sys/result.hpp"

#include <filesystem>
#include <memory>

namespace kmodguard::events {

/// Whether a systemd journal listens on this machine.
[[nodiscard]] bool has_journal();

/// The journal, with structured fields (KMODGUARD_POINT, KMODGUARD_TOKEN, ... and MESSAGE_ID;
/// docs/events.md, which also has the priorities).
[[nodiscard]] std::unique_ptr<Sink> journal_sink();

/// syslog(3), facility authpriv.
[[nodiscard]] std::unique_ptr<Sink> syslog_sink();

/// What is to be looked at (priority warning and above), on standard error.
[[nodiscard]] std::unique_ptr<Sink> stderr_sink();

/// One JSON object a line, appended to the file at `path` (0600).
[[nodiscard]] sys::Result<std::unique_ptr<Sink>> json_lines_sink(const std::filesystem::path& path);

/// The same on standard error.
[[nodiscard]] std::unique_ptr<Sink> json_stderr_sink();

/// modules.log: one attempt a line, the path of the image or, where there is none, its name. "# N attempts
/// are missing here" is written where lines were lost. The file at `path` (0600) is appended to.
[[nodiscard]] sys::Result<std::unique_ptr<Sink>> modules_log_sink(const std::filesystem::path& path);

} // namespace kmodguard::events
