// SPDX-License-Identifier: AGPL-3.0-only
//
// The record of one attempt to load a module, the same at every enforcement point.
#pragma once

#include "core/decision.hpp"

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace kmodguard::events {

/// Identifies kmodguard's events in the journal: journalctl MESSAGE_ID=... (data/kmodguard.catalog).
inline constexpr std::string_view message_id = "6f0c3d5d0a2f4f0c9a4b7d1e52c8e9a1";

/// Who wanted the module, as far as the enforcement point can know. The autoload point cannot: there the
/// kernel's own thread asks, on behalf of nobody it names.
struct Requester {
    pid_t pid = 0;
    uid_t uid = 0;
    std::string command;
    std::string executable;
    std::string cgroup;
    std::string container;
};

struct Event {
    std::chrono::system_clock::time_point time;
    core::Point point = core::Point::autoload;
    std::uint64_t generation = 0; ///< of the policy that judged
    core::Decision decision;
    std::optional<Requester> requester = std::nullopt;
};

/// Whether the attempt is one to call somebody's attention to: refused, or let pass by audit mode alone.
[[nodiscard]] bool is_notable(const Event& event);

/// One line for people, also the journal's MESSAGE: "autoload net-pf-9: refused: ...".
[[nodiscard]] std::string summary(const Event& event);

} // namespace kmodguard::events
