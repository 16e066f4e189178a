// SPDX-License-Identifier: AGPL-3.0-only
//
// The kernel point as kmodctl shows it: by what the daemon says of it, and without a daemon by what is pinned
// in the kernel, since that goes on enforcing.
#pragma once

#include "enforce/kernel/pinned.hpp"
#include "enforce/kernel/status.hpp"
#include "events/json.hpp"
#include "protocol/message.hpp"
#include "sys/paths.hpp"
#include "sys/result.hpp"

#include <string>
#include <vector>

namespace kmodguard::ctl {

/// By the daemon's answer to STATUS, or, if it gave none, by the pins.
[[nodiscard]] kernel::Status kernel_status(const sys::Paths& paths,
                                           const sys::Result<protocol::Answer>& daemon);

/// What programs that were left out mean, and records that found no room; "" if there were none.
[[nodiscard]] std::string skipped_in_words(const kernel::Counters& counters);
[[nodiscard]] std::string lost_in_words(const kernel::Counters& counters);

/// A note as one sentence, with its remedy.
[[nodiscard]] std::string sentence_of(kernel::Note note);

/// For people: the first line says whether it is enforced, the others what else is to be known.
[[nodiscard]] std::vector<std::string> lines_of(const kernel::Status& status);
[[nodiscard]] events::Json::Object object_of(const kernel::Status& status);

/// Fails (ErrorKind::denied) if this machine is sealed: then the guard stays as it is.
[[nodiscard]] sys::Result<void> require_unsealed(const sys::Paths& paths);

} // namespace kmodguard::ctl
