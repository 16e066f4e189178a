// SPDX-License-Identifier: AGPL-3.0-only
//
// Attempts that are to be refused, made to see whether they are: the canary (canary.hpp) is handed to the
// kernel in each way there is, and the kernel is made to ask for a module that does not exist. Nothing is
// loaded by them, guarded or not. An error alone proves little, since others refuse as well; that the kernel
// point, or the daemon, has counted the attempt proves that it was judged. An outcome is an enum; its
// sentence and the remedy are in trials.cpp, in one place each for loads and for requests.
#pragma once

#include "core/module_index.hpp"
#include "ctl/finding.hpp"
#include "enforce/kernel/status.hpp"
#include "modules/decompress.hpp"
#include "sys/paths.hpp"

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace kmodguard::ctl {

/// What has been counted so far; nothing where that cannot be read.
struct Counts {
    std::uint64_t refused_requests = 0; ///< by the daemon
    kernel::Counters kernel = {};
};
using CountsNow = std::function<std::optional<Counts>()>;

/// How an attempt to load the canary ended.
struct LoadTrial {
    int error = 0; ///< errno; 0: the kernel returned success
    bool audit = false;
    bool compressed = false; ///< for the kernel to decompress: ENOSYS refuses as well
    kernel::Counters before = {};
    kernel::Counters after = {};
};
enum class LoadOutcome {
    refused,            ///< by the kernel point
    audited,            ///< judged, and let pass by audit mode
    allowed,            ///< judged, and allowed by the policy
    skipped,            ///< the kernel left the programs out
    refused_by_another, ///< and the kernel point did not see it
    not_judged,
};
[[nodiscard]] LoadOutcome outcome_of(const LoadTrial& trial);
[[nodiscard]] Finding finding_of(const std::string& check, const LoadTrial& trial);

/// Why the canary would prove nothing here; "" if it would.
[[nodiscard]] std::string why_loading_proves_nothing(const sys::Paths& paths);

/// By init_module and finit_module, and as a compressed file where the kernel decompresses `compression`.
[[nodiscard]] Findings try_loading(const CountsNow& now, bool audit,
                                   std::optional<modules::Container> compression);

/// How a request for a module that does not exist ended.
struct RequestTrial {
    std::string token;
    Counts before = {};
    Counts after = {};
};
enum class RequestOutcome {
    refused_by_daemon,
    refused_in_kernel, ///< which remembered it
    passed_by,         ///< the kernel asked another program than the hook
    not_seen,
};
[[nodiscard]] RequestOutcome outcome_of(const RequestTrial& trial);

/// By socket(2), of an address family that no module has: none of `index` answers to it.
[[nodiscard]] Finding try_requesting(const CountsNow& now, core::ModuleIndex& index);

} // namespace kmodguard::ctl
