// SPDX-License-Identifier: AGPL-3.0-only
//
// The kernel point as kmodctl shows it: by what the daemon says of it, and without a daemon by what stands in
// the kernel, since that guards on.
#pragma once

#include "enforce/kernel/guard.hpp"
#include "events/json.hpp"
#include "protocol/message.hpp"
#include "sys/paths.hpp"
#include "sys/result.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace kmodguard::ctl {

struct KernelReport {
    bool known = true;     ///< false: only root can tell
    bool active = false;   ///< it judges what is loaded
    bool by_daemon = true; ///< false: nobody looks after it
    bool sealed = false;
    std::string mechanism;                   ///< as kernel::to_string() names it
    std::optional<std::uint64_t> generation; ///< of a sealed one only the daemon knows
    std::optional<std::uint64_t> modules;    ///< that it admits; only the daemon knows
    kernel::Counters counters;
    std::string problem; ///< why it is not active, or not as it should be
    std::string hint;
    std::vector<std::string> notes; ///< what is weaker on this kernel than on others
};

/// By the daemon's answer to STATUS, or, if it gave none, by the pins.
[[nodiscard]] KernelReport kernel_report(const sys::Paths& paths,
                                         const sys::Result<protocol::Answer>& daemon);

/// "BPF LSM".
[[nodiscard]] std::string mechanism_in_words(const KernelReport& report);

/// What programs that were left out mean, and records that found no room; "" if there were none.
[[nodiscard]] std::string skipped_in_words(const kernel::Counters& counters);
[[nodiscard]] std::string lost_in_words(const kernel::Counters& counters);

/// For people: the first line says whether it is held, the others what else is to be known.
[[nodiscard]] std::vector<std::string> lines_of(const KernelReport& report);
[[nodiscard]] events::Json::Object object_of(const KernelReport& report);

/// Fails (ErrorKind::denied) if this machine is sealed: then the guard stays as it is.
[[nodiscard]] sys::Result<void> require_unsealed(const sys::Paths& paths);

} // namespace kmodguard::ctl
