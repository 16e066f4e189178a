// SPDX-License-Identifier: AGPL-3.0-only
#include "gdb/remote_packet.hpp"

#include <fmt/format.h>

#include <charconv>

namespace kmodguard::gdb {
namespace {

constexpr std::string_view hex_digits = "0123456789abcdef";
constexpr char escape_mask = 0x20;
// A repeat count n is written as the character n + 29; fewer than 3 are never written (GDB manual,
// "Overview").
constexpr int run_length_bias = 29;
constexpr int shortest_run = 3;
constexpr char last_printable = '~';

int value_of(char digit) {
    if (digit >= '0' && digit <= '9') return digit - '0';
    if (digit >= 'a' && digit <= 'f') return digit - 'a' + 10;
    if (digit >= 'A' && digit <= 'F') return digit - 'A' + 10;
    return -1;
}

} // namespace

std::string encode_packet(std::string_view payload) {
    std::string packet = "$";
    packet.reserve(payload.size() + 4);
    for (const char byte : payload) {
        if (byte == '$' || byte == '#' || byte == '}' || byte == '*') {
            packet += '}';
            packet += static_cast<char>(byte ^ escape_mask);
        } else {
            packet += byte;
        }
    }
    std::uint8_t sum = 0;
    for (const char byte : std::string_view(packet).substr(1))
        sum = static_cast<std::uint8_t>(sum + static_cast<std::uint8_t>(byte));
    packet += '#';
    packet += hex_digits[sum >> 4U];
    packet += hex_digits[sum & 0xfU];
    return packet;
}

std::string to_hex(std::span<const std::byte> bytes) {
    std::string digits;
    digits.reserve(bytes.size() * 2);
    for (const std::byte byte : bytes) {
        digits += hex_digits[std::to_integer<unsigned>(byte) >> 4U];
        digits += hex_digits[std::to_integer<unsigned>(byte) & 0xfU];
    }
    return digits;
}

bool from_hex(std::string_view digits, std::span<std::byte> bytes) {
    if (digits.size() != bytes.size() * 2) return false;
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        const int high = value_of(digits[2 * i]);
        const int low = value_of(digits[2 * i + 1]);
        if (high < 0 || low < 0) return false;
        bytes[i] = static_cast<std::byte>(high * 16 + low);
    }
    return true;
}

std::optional<std::uint64_t> parse_hex(std::string_view digits) {
    if (digits.empty() || digits.size() > 16) return std::nullopt;
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
    if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
    return value;
}

sys::Result<std::optional<Received>> PacketDecoder::take(std::string_view& bytes) {
    while (!bytes.empty()) {
        const char byte = bytes.front();
        bytes.remove_prefix(1);
        if (state_ == State::between) {
            auto received = take_between(byte);
            if (!received || *received) return received;
        } else if (state_ == State::checksum_high) {
            checksum_high_ = byte;
            state_ = State::checksum_low;
        } else if (state_ == State::checksum_low) {
            return finish(byte);
        } else if (auto taken = take_payload(byte); !taken) {
            return std::unexpected(taken.error());
        }
    }
    return std::nullopt;
}

sys::Result<std::optional<Received>> PacketDecoder::take_between(char byte) {
    if (byte == '+') return Received{.kind = Received::Kind::acknowledged};
    if (byte == '-') return Received{.kind = Received::Kind::refused};
    if (byte == '$') {
        start();
        return std::nullopt;
    }
    if (++junk_ > max_junk)
        return sys::failure(sys::ErrorKind::invalid,
                            fmt::format("more than {} bytes that belong to no packet", max_junk));
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
    if (value_of(checksum_high_) < 0 || value_of(low) < 0
        || value_of(checksum_high_) * 16 + value_of(low) != sum_)
        return Received{.kind = Received::Kind::damaged};
    if (malformed_)
        return sys::failure(sys::ErrorKind::invalid, "a packet with an impossible run length or escape");
    junk_ = 0;
    return Received{.kind = Received::Kind::packet, .payload = std::exchange(payload_, {})};
}

} // namespace kmodguard::gdb
