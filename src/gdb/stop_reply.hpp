// SPDX-License-Identifier: AGPL-3.0-only
//
// What a stub says when the machine stops (GDB manual, "Stop Reply Packets"), and how it names processors: as
// the threads of a process.
#pragma once

#include "sys/result.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace kmodguard::gdb {

/// One processor of the machine. 0 for either number: any one.
struct ThreadId {
    std::uint32_t process = 0; ///< QEMU: a cluster of processors; 0 where the stub has no processes
    std::uint32_t thread = 0;

    bool operator==(const ThreadId&) const = default;
};

/// As in packets, for example "p1.2"; without a process only "2".
[[nodiscard]] std::string to_string(ThreadId id);

/// Reads "p1.2" or "2", numbers in hexadecimal. nullopt for anything else, "all" (-1) included.
[[nodiscard]] std::optional<ThreadId> parse_thread_id(std::string_view text);

/// Signals as gdb numbers them, as far as QEMU gives them as reasons of a stop.
inline constexpr std::uint8_t signal_interrupt = 2; ///< interrupted by us, or stopped through QEMU's monitor
inline constexpr std::uint8_t signal_trap = 5;      ///< a breakpoint, or a step is done

struct Stop {
    enum class Kind : std::uint8_t {
        stopped, ///< the machine is stopped
        exited,  ///< the emulator is gone
    };
    Kind kind = Kind::stopped;
    std::uint8_t signal = 0; ///< why it stopped; 0 when it exited
    ThreadId thread;         ///< the processor that stopped; all others are stopped, too
    /// Of an emulator that exited: its status, or 128 + the signal that killed it; nullopt if it only hung
    /// up.
    std::optional<std::uint8_t> status = {};

    bool operator==(const Stop&) const = default;
};

/// Reads `Txx...`, `Sxx`, `Wxx`, `Xxx`. nullopt: `O...`, output of the program that runs there, which is not
/// kept. Pairs in a `T` that are not known are skipped, as the protocol wants it. ErrorKind::invalid: any
/// other text.
[[nodiscard]] sys::Result<std::optional<Stop>> parse_stop_reply(std::string_view payload);

} // namespace kmodguard::gdb
