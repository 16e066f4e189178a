// SPDX-License-Identifier: AGPL-3.0-only
#include "gdb/remote_packet.hpp"

#include "sys/number.hpp"

#include <fmt/format.h>

#include <array>
#include <iterator>
#include <limits>
#include <ranges>
#include <utility>

namespace kmodguard::gdb {
namespace {

constexpr char escape_mask = 0x20;
// A repeat count n is written as the character n + 29; fewer than 3 are never written (GDB manual,
// "Overview").
constexpr int run_length_bias = 29;
constexpr int shortest_run = 3;
constexpr char last_printable = '~';

/// A number of 32 bits, in hexadecimal.
std::optional<std::uint32_t> parse_number(std::string_view digits) {
    const auto value = parse_hex(digits);
    if (!value || *value > std::numeric_limits<std::uint32_t>::max()) return std::nullopt;
    return static_cast<std::uint32_t>(*value);
}

std::unexpected<sys::Error> malformed_reply() {
    return sys::failure(sys::ErrorKind::invalid, "a malformed stop reply");
}

/// The last `thread` among `key:value;` pairs. nullopt: there is one that is no processor's.
std::optional<ThreadId> find_thread(std::string_view pairs) {
    ThreadId thread;
    for (const auto part : std::views::split(pairs, ';')) {
        const std::string_view pair(part);
        constexpr std::string_view key = "thread:";
        if (!pair.starts_with(key)) continue;
        const auto id = parse_thread_id(pair.substr(key.size()));
        if (!id) return std::nullopt;
        thread = *id;
    }
    return thread;
}

} // namespace

std::string encode_packet(std::string_view payload) {
    std::string escaped;
    escaped.reserve(payload.size());
    for (const char byte : payload) {
        const bool special = byte == '$' || byte == '#' || byte == '}' || byte == '*';
        if (special) escaped += '}';
        escaped += special ? static_cast<char>(byte ^ escape_mask) : byte;
    }
    std::uint8_t sum = 0;
    for (const char byte : escaped)
        sum = static_cast<std::uint8_t>(sum + static_cast<std::uint8_t>(byte));
    return fmt::format("${}#{:02x}", escaped, sum);
}

std::string to_hex(std::span<const std::byte> bytes) {
    std::string digits;
    digits.reserve(bytes.size() * 2);
    for (const std::byte byte : bytes)
        fmt::format_to(std::back_inserter(digits), "{:02x}", std::to_integer<unsigned>(byte));
    return digits;
}

bool from_hex(std::string_view digits, std::span<std::byte> bytes) {
    if (digits.size() != bytes.size() * 2) return false;
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        const auto value = parse_hex(digits.substr(2 * i, 2));
        if (!value) return false;
        bytes[i] = static_cast<std::byte>(*value);
    }
    return true;
}

std::optional<std::uint64_t> parse_hex(std::string_view digits) {
    return digits.size() > 16 ? std::nullopt : sys::number_in<std::uint64_t>(digits, 16);
}

sys::Result<std::optional<Received>> PacketDecoder::take(std::string_view& bytes) {
    while (!bytes.empty()) {
        const char byte = bytes.front();
        bytes.remove_prefix(1);
        switch (state_) {
        case State::between:
            if (byte == '+') return Received{.kind = Received::Kind::acknowledged};
            if (byte == '-') return Received{.kind = Received::Kind::refused};
            if (byte == '$')
                start();
            else if (++junk_ > max_junk)
                return sys::failure(sys::ErrorKind::invalid,
                                    fmt::format("more than {} bytes that belong to no packet", max_junk));
            break;
        case State::checksum_high:
            checksum_high_ = byte;
            state_ = State::checksum_low;
            break;
        case State::checksum_low: return finish(byte);
        default: TRY(take_payload(byte));
        }
    }
    return std::nullopt;
}

void PacketDecoder::start() {
    state_ = State::payload;
    payload_.clear();
    sum_ = 0;
    malformed_ = false;
}

sys::Result<void> PacketDecoder::take_payload(char byte) {
    if (byte == '#') {
        if (state_ != State::payload) malformed_ = true;
        state_ = State::checksum_high;
        return {};
    }
    if (byte == '$') { // never inside a packet: the one before was broken off
        junk_ += payload_.size() + 1;
        if (junk_ > max_junk) return sys::failure(sys::ErrorKind::invalid, "packets that are broken off");
        start();
        return {};
    }
    sum_ = static_cast<std::uint8_t>(sum_ + static_cast<std::uint8_t>(byte));
    const State state = std::exchange(state_, State::payload);
    if (state == State::escape) return append(static_cast<char>(byte ^ escape_mask), 1);
    if (state == State::run_length) {
        const int count = byte - run_length_bias;
        if (payload_.empty() || count < shortest_run || byte > last_printable) {
            malformed_ = true;
            return {};
        }
        return append(payload_.back(), static_cast<std::size_t>(count));
    }
    if (byte == '}')
        state_ = State::escape;
    else if (byte == '*')
        state_ = State::run_length;
    else
        return append(byte, 1);
    return {};
}

sys::Result<void> PacketDecoder::append(char byte, std::size_t count) {
    if (count > max_payload - payload_.size())
        return sys::failure(sys::ErrorKind::invalid,
                            fmt::format("a packet of more than {} bytes", max_payload));
    payload_.append(count, byte);
    return {};
}

sys::Result<std::optional<Received>> PacketDecoder::finish(char low) {
    state_ = State::between;
    const std::array digits{checksum_high_, low};
    if (parse_hex({digits.data(), digits.size()}) != sum_) return Received{.kind = Received::Kind::damaged};
    if (malformed_)
        return sys::failure(sys::ErrorKind::invalid, "a packet with an impossible run length or escape");
    junk_ = 0;
    return Received{.kind = Received::Kind::packet, .payload = std::exchange(payload_, {})};
}

std::string to_string(ThreadId id) {
    return id.process == 0 ? fmt::format("{:x}", id.thread)
                           : fmt::format("p{:x}.{:x}", id.process, id.thread);
}

std::optional<ThreadId> parse_thread_id(std::string_view text) {
    std::optional<std::uint32_t> process = 0;
    if (text.starts_with('p')) {
        const std::size_t point = text.find('.');
        if (point == std::string_view::npos) return std::nullopt;
        process = parse_number(text.substr(1, point - 1));
        text.remove_prefix(point + 1);
    }
    const auto thread = parse_number(text);
    if (!process || !thread) return std::nullopt;
    return ThreadId{.process = *process, .thread = *thread};
}

sys::Result<std::optional<Stop>> parse_stop_reply(std::string_view payload) {
    if (payload.empty()) return malformed_reply();
    const char letter = payload.front();
    payload.remove_prefix(1);
    if (letter == 'O') {
        if (payload.find_first_not_of("0123456789abcdefABCDEF") == std::string_view::npos)
            return std::nullopt;
        return malformed_reply();
    }
    const auto code = payload.size() < 2 ? std::nullopt : parse_number(payload.substr(0, 2));
    if (!code) return malformed_reply();
    const auto number = static_cast<std::uint8_t>(*code);
    const std::string_view rest = payload.substr(2);
    if (letter == 'T') {
        const auto thread = find_thread(rest);
        if (!thread) return malformed_reply();
        return Stop{.signal = number, .thread = *thread};
    }
    if (letter == 'S' && rest.empty()) return Stop{.signal = number};
    constexpr std::uint8_t killed = 128;                                           // as shells count
    if ((letter == 'W' || letter == 'X') && (rest.empty() || rest.front() == ';')) // ";process:pid"
        return Stop{.kind = Stop::Kind::exited,
                    .status = letter == 'X' ? static_cast<std::uint8_t>(killed | number) : number};
    return malformed_reply();
}

} // namespace kmodguard::gdb
