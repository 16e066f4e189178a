// SPDX-License-Identifier: AGPL-3.0-only
//
// The record of one change to the guard itself, or of one that was tried: who did what, and whether it was
// done. Attempts to load a module have records of their own (attempt.hpp).
#pragma once

#include "sys/process.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace kmodguard::events {

enum class Action {
    allow,
    deny,
    remove,
    apply,
    mode,
    reload,
    arm,
    disarm,
    stop, ///< kmodctl stop
    seal,
    end,      ///< the daemon was told to end by a signal
    connect,  ///< a process that may not ask was turned away
    handler,  ///< kernel.modprobe names another program than the one that was armed
    mode_end, ///< the time of a limited mode is over
    publish,  ///< what is wanted could not be published, or was after that
};

[[nodiscard]] std::string_view to_string(Action action); ///< "mode-end"
[[nodiscard]] std::optional<Action> action_from(std::string_view text);

struct Change {
    /// Made now; of what was not done, `why`.
    Change(Action what, std::uint64_t policy, std::optional<std::string> why = std::nullopt)
        : time(std::chrono::system_clock::now()), action(what), error(std::move(why)), generation(policy) {}

    std::chrono::system_clock::time_point time;
    Action action;
    std::string argument;                   ///< what it was done to: a module's name, "audit 1800"
    std::optional<std::string> error;       ///< why it was not done; nothing: it was
    std::uint64_t generation;               ///< of the policy in force afterwards; 0: not known
    std::optional<sys::ProcessIdentity> by; ///< nothing: the daemon itself, or not known
    std::uint64_t repeated = 0;             ///< earlier ones of the same kind that were counted, not recorded
};

/// Whether it is one to call attention to: it failed, or it was made by another program than kmodguard's.
[[nodiscard]] bool is_notable(const Change& change);

/// One line for people, also the journal's MESSAGE: "mode audit: done (by kmodctl[812], uid 0, login uid
/// 1000)".
[[nodiscard]] std::string summary(const Change& change);

} // namespace kmodguard::events
