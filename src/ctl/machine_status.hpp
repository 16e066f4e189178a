// SPDX-License-Identifier: AGPL-3.0-only
//
// The whole machine, as `kmodctl status` shows it and as doctor, seal and start decide by it: what the daemon
// says of itself, and what can be seen without one.
#pragma once

#include "ctl/context.hpp"
#include "ctl/kernel_report.hpp"
#include "ctl/loaded_report.hpp"
#include "enforce/autoload/handler.hpp"
#include "protocol/answers.hpp"

#include <string>

namespace kmodguard::ctl {

struct MachineStatus {
    sys::Result<protocol::DaemonStatus> daemon; ///< ErrorKind::unreachable: it does not run
    sys::Result<autoload::HandlerStatus> handler;
    kernel::Status kernel;
    LoadedReport loaded;
};

[[nodiscard]] MachineStatus machine_status(const Context& context);
/// Of an answer to STATUS.
[[nodiscard]] sys::Result<protocol::DaemonStatus>
read_daemon_status(const sys::Result<protocol::Answer>& answer);
[[nodiscard]] sys::Result<protocol::DaemonStatus> daemon_status(const Context& context);

/// "audit (for 29 s more)".
[[nodiscard]] std::string describe_mode(const protocol::DaemonStatus& daemon);

/// All of it, for programs.
[[nodiscard]] events::Json::Object object_of(const MachineStatus& status);
/// For people, a line each.
[[nodiscard]] std::vector<std::string> lines_of(const MachineStatus& status);

} // namespace kmodguard::ctl
