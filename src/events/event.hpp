// SPDX-License-Identifier: AGPL-3.0-only
//
// All that is recorded: attempts, changes of the guard, what the seal has refused, what was tampered with,
// and what was lost. Every sink gets the same variant, and all that a field is called is in one list
// (fields.hpp).
#pragma once

#include "events/attempt.hpp"
#include "events/change.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace kmodguard::events {

/// Something that the seal forbids until the machine restarts, and that a process has tried.
struct SealRefusal {
    SealRefusal(std::uint64_t policy, std::string what, Requester who)
        : time(std::chrono::system_clock::now()), generation(policy), forbidden(std::move(what)),
          requester(std::move(who)) {}

    std::chrono::system_clock::time_point time;
    std::uint64_t generation; ///< of the policy in force
    std::string forbidden;    ///< "changing kernel.modprobe"
    std::optional<Requester> requester;
    std::uint64_t repeated = 0; ///< as of an Attempt
    std::optional<std::chrono::system_clock::time_point> repeated_since;
};

/// Something of kmodguard's that is not as it left it.
struct Tampering {
    Tampering(std::uint64_t policy, std::string what)
        : time(std::chrono::system_clock::now()), generation(policy), found(std::move(what)) {}

    std::chrono::system_clock::time_point time;
    std::uint64_t generation; ///< of the policy in force
    std::string found;        ///< a sentence: "kernel.ftrace_enabled is 0, and the programs do not run"
};

/// Attempts and changes that have no event.
struct Loss {
    std::size_t count = 0;
    std::chrono::system_clock::time_point time = std::chrono::system_clock::now();
};

/// One line of modules.log: the path, or the name, of an image that a process tried to load.
struct LogLine {
    std::string text;
    std::string container; ///< whose attempt it was; "" where it was none's
};

/// Lines of modules.log that are missing there.
struct LogLineLoss {
    std::size_t count = 0;
};

/// Identify each type in the journal: journalctl MESSAGE_ID=... (data/kmodguard.catalog). Losses have none.
template <typename Type>
constexpr std::string_view message_id{};
template <>
inline constexpr std::string_view message_id<Attempt> = "6f0c3d5d0a2f4f0c9a4b7d1e52c8e9a1";
template <>
inline constexpr std::string_view message_id<Change> = "a2d4c1f07be94a63b4f5e9d1c0378e52";
template <>
inline constexpr std::string_view message_id<SealRefusal> = "360633a2094c4cda9340601b1ec5ed40";
template <>
inline constexpr std::string_view message_id<Tampering> = "68f492eeda31438b8494add9336a02cb";

using Event = std::variant<Attempt, Change, SealRefusal, Tampering, Loss, LogLine, LogLineLoss>;

/// Of syslog(3): LOG_WARNING for what is to be looked at.
[[nodiscard]] int priority_of(const Attempt& attempt);
[[nodiscard]] int priority_of(const Change& change);
[[nodiscard]] int priority_of(const SealRefusal& refusal);
[[nodiscard]] int priority_of(const Tampering& tampering);
[[nodiscard]] int priority_of(const Loss& loss);

/// One line for people, also the journal's MESSAGE.
[[nodiscard]] std::string summary(const SealRefusal& refusal);
[[nodiscard]] std::string summary(const Tampering& tampering);
[[nodiscard]] std::string summary(const Loss& loss);

/// By container or user; "" of what no process brought about, or a process that is not known.
[[nodiscard]] std::string originator_of(const Event& event);

/// How many attempts or changes it stands for.
[[nodiscard]] std::uint64_t count_of(const Event& event);

} // namespace kmodguard::events
