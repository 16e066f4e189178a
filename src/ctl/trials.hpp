// SPDX-License-Identifier: AGPL-3.0-only
//
// The proof of the points, for `kmodctl doctor`: what they say of themselves is one thing, what happens when
// a module is loaded another. The canary (canary.hpp) is handed to the kernel in each way there is, and the
// kernel is made to ask for a module that does not exist. Nothing is loaded by that, guarded or not. An error
// alone proves little, since others refuse as well; that the kernel point, or the daemon, has counted the
// attempt proves that it was judged.
#pragma once

#include "ctl/machine_status.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace kmodguard::ctl {

enum class Level {
    ok,
    note, ///< no reason to act at once
    bad,  ///< something is not guarded as it should be
};

/// What one check of `kmodctl doctor` found.
struct Finding {
    std::string check; ///< what was looked at, in a word or two
    Level level = Level::ok;
    std::string text;
    std::string remedy = {}; ///< what to do; empty if all is well
};

/// What has been counted so far.
struct Counts {
    std::uint64_t refused_requests = 0; ///< by the daemon
    kernel::Counters kernel = {};
};

/// How an attempt to load the canary ended.
struct LoadTrial {
    int error = 0; ///< errno; 0: the kernel returned success
    bool audit = false;
    bool compressed = false; ///< for the kernel to decompress: ENOSYS refuses as well
    kernel::Counters before = {};
    kernel::Counters after = {};
};
[[nodiscard]] Finding finding_of(const std::string& check, const LoadTrial& trial);

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

/// Tries both points: loads by init_module and finit_module, also of a compressed file where the kernel
/// decompresses, and a request by socket(2), of an address family that no module has.
[[nodiscard]] std::vector<Finding> try_points(const Context& context, const MachineStatus& status);

} // namespace kmodguard::ctl
