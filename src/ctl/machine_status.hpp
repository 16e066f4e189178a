// SPDX-License-Identifier: AGPL-3.0-only
//
// The whole machine, as `kmodctl status` shows it and as doctor, seal and start decide by it: what the daemon
// says of itself, what can be seen without one, and the sentences that several verbs have for it. The kernel
// point goes on enforcing without a daemon; then what is pinned in the kernel says what it does.
#pragma once

#include "core/admission.hpp"
#include "ctl/context.hpp"
#include "enforce/autoload/handler.hpp"
#include "enforce/kernel/pinned.hpp"
#include "enforce/kernel/status.hpp"
#include "protocol/answers.hpp"

#include <string>
#include <vector>

namespace kmodguard::ctl {

/// The loaded modules that the policy would not let in; an error where that is not known.
using LoadedReport = sys::Result<std::vector<core::ModuleDecision>>;

struct MachineStatus {
    sys::Result<protocol::DaemonStatus> daemon; ///< ErrorKind::unreachable: it does not run
    sys::Result<autoload::HandlerStatus> handler;
    kernel::Status kernel;
    LoadedReport loaded; ///< as the daemon judges; as the policy files do, if it does not answer
};
[[nodiscard]] MachineStatus machine_status(const Context& context);

/// Of an answer to STATUS.
[[nodiscard]] sys::Result<protocol::DaemonStatus>
read_daemon_status(const sys::Result<protocol::Answer>& answer);
/// By the daemon's answer to STATUS, or, if it gave none, by the pins.
[[nodiscard]] kernel::Status kernel_status(const sys::Paths& paths,
                                           const sys::Result<protocol::Answer>& daemon);
/// Fails (ErrorKind::denied) if this machine is sealed: then the guard stays as it is.
[[nodiscard]] sys::Result<void> require_unsealed(const sys::Paths& paths);

/// "audit (for 29 s more)".
[[nodiscard]] std::string describe_mode(const protocol::DaemonStatus& daemon);
/// "" if all that is loaded would be admitted.
[[nodiscard]] std::string sentence_of(const LoadedReport& loaded);
/// A note with its remedy.
[[nodiscard]] std::string sentence_of(kernel::Note note);
/// What programs that were left out mean, and records that found no room; "" if there were none.
[[nodiscard]] std::string skipped_in_words(const kernel::Counters& counters);
[[nodiscard]] std::string lost_in_words(const kernel::Counters& counters);

/// For people: the first line says whether it is enforced, the others what else is to be known.
[[nodiscard]] std::vector<std::string> lines_of(const kernel::Status& status);
[[nodiscard]] events::Json::Object object_of(const kernel::Status& status);

} // namespace kmodguard::ctl
