// SPDX-License-Identifier: AGPL-3.0-only
//
// Attempts that are to be refused, made to see whether they are: the canary (canary.hpp) is handed to the
// kernel in each way there is, and the kernel is made to ask for a module that does not exist. Nothing is
// loaded by them, guarded or not. An error alone proves little, since others refuse as well; that the kernel
// point, or the daemon, has counted the attempt proves that it was judged.
#pragma once

#include "core/module_index.hpp"
#include "ctl/finding.hpp"
#include "enforce/kernel/status.hpp"
#include "modules/image_container.hpp"
#include "sys/paths.hpp"

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace kmodguard::ctl {

/// What has been counted so far; nothing if nobody can tell.
struct Counts {
    std::uint64_t refused_requests = 0; ///< by the daemon
    kernel::Counters kernel = {};
};
using CountsNow = std::function<std::optional<Counts>()>;

/// How an attempt to load the canary ended.
struct LoadTrial {
    int error = 0; ///< errno; 0: the kernel said that it loaded it
    bool audit = false;
    bool packed = false; ///< for the kernel to unpack: ENOSYS refuses as well
    kernel::Counters before = {};
    kernel::Counters after = {};
};
[[nodiscard]] Finding judge(const std::string& check, const LoadTrial& trial);

/// Why the canary would tell nothing here; "" if it would.
[[nodiscard]] std::string why_loading_tells_nothing(const sys::Paths& paths);

/// By init_module and finit_module, and as a compressed file where `unpacks` names what the kernel unpacks.
[[nodiscard]] Findings try_loading(const CountsNow& now, bool audit,
                                   std::optional<modules::Container> unpacks);

/// How a request for a module that does not exist ended.
struct RequestTrial {
    std::string token;
    Counts before = {};
    Counts after = {};
};
enum class RequestOutcome {
    refused_by_daemon,
    refused_in_kernel, ///< which remembered it
    passed_by,         ///< the kernel asked somebody, and the daemon was not asked
    not_seen,
};
[[nodiscard]] RequestOutcome outcome_of(const RequestTrial& trial);

/// By socket(2), of an address family that nobody has: no module of `index` answers to it.
[[nodiscard]] Finding try_requesting(const CountsNow& now, core::ModuleIndex& index);

} // namespace kmodguard::ctl
