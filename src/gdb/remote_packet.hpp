// SPDX-License-Identifier: AGPL-3.0-only
//
// How the gdb remote protocol puts packets on a byte stream, `$payload#checksum`, each one acknowledged with
// `+` or asked for again with `-` (GDB manual, "Remote Protocol: Overview"), and the payloads with which a
// stub reports a stop ("Stop Reply Packets"). No I/O here. The stub is part of an emulator whose guest may
// have broken out of it, so nothing that it sends makes this allocate or skip without a bound.
#pragma once

#include "sys/result.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace kmodguard::gdb {

/// Most bytes of a payload, with escapes and run lengths expanded. QEMU's longest are 4 KiB, and the packet
/// of all registers where vector registers are among them.
inline constexpr std::size_t max_payload = 65536;

/// Most bytes that are skipped between two packets.
inline constexpr std::size_t max_junk = 4096;

/// `payload` as it goes over the wire: framed, with its checksum, and `$ # } *` in it escaped.
[[nodiscard]] std::string encode_packet(std::string_view payload);

/// Two lower-case digits a byte.
[[nodiscard]] std::string to_hex(std::span<const std::byte> bytes);

/// Fills `bytes` from exactly twice as many digits. False for any other text, `bytes` are then undefined.
[[nodiscard]] bool from_hex(std::string_view digits, std::span<std::byte> bytes);

/// A number of 1 to 16 digits without prefix or sign; nullopt for any other text.
[[nodiscard]] std::optional<std::uint64_t> parse_hex(std::string_view digits);

/// What the stub sent.
struct Received {
    enum class Kind : std::uint8_t {
        acknowledged, ///< `+`: our packet came through
        refused,      ///< `-`: it did not, and is to be sent again
        packet,       ///< a whole packet, its checksum right
        damaged,      ///< a packet whose checksum is wrong: ask for it again
    };
    Kind kind = Kind::packet;
    std::string payload = {}; ///< of a packet only

    bool operator==(const Received&) const = default;
};

/// Finds packets in a stream that comes in pieces. Keeps the beginning of an unfinished one, so memory is
/// bounded by max_payload. After an error nothing more can be read from that stream.
class PacketDecoder {
  public:
    /// Takes bytes off the front of `bytes` until something is whole. nullopt: all were taken, and more are
    /// needed. ErrorKind::invalid: a payload over max_payload, an impossible run length or escape under a
    /// right checksum, more than max_junk bytes between packets.
    [[nodiscard]] sys::Result<std::optional<Received>> take(std::string_view& bytes);

  private:
    enum class State : std::uint8_t { between, payload, escape, run_length, checksum_high, checksum_low };

    [[nodiscard]] sys::Result<void> take_payload(char byte);
    [[nodiscard]] sys::Result<void> append(char byte, std::size_t count);
    [[nodiscard]] sys::Result<std::optional<Received>> finish(char low);
    void start();

    State state_ = State::between;
    std::string payload_;
    std::uint8_t sum_ = 0;
    char checksum_high_ = '\0';
    bool malformed_ = false;
    std::size_t junk_ = 0;
};

/// One processor of the machine: to a stub, a thread of a process. 0 for either number: any one.
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
    ThreadId thread = {};    ///< the processor that stopped; all others are stopped, too
    /// Of an emulator that exited: its status, or 128 + the signal that killed it; nullopt if it only hung
    /// up.
    std::optional<std::uint8_t> status = {};

    bool operator==(const Stop&) const = default;
};

/// Reads `Txx...`, `Sxx`, `Wxx`, `Xxx`. nullopt: `O...`, output of the program that runs there, which is not
/// kept. Pairs in a `T` that are not known are skipped, as the protocol demands. ErrorKind::invalid: any
/// other text.
[[nodiscard]] sys::Result<std::optional<Stop>> parse_stop_reply(std::string_view payload);

} // namespace kmodguard::gdb
