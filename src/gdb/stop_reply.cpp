// SPDX-License-Identifier: AGPL-3.0-only
#include "gdb/stop_reply.hpp"

#include "gdb/remote_packet.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

namespace kmodguard::gdb {
namespace {

std::optional<std::uint32_t> parse_number(std::string_view digits) {
    const auto value = parse_hex(digits);
    if (!value || *value > std::numeric_limits<std::uint32_t>::max()) return std::nullopt;
    return static_cast<std::uint32_t>(*value);
}

/// The two digits behind the letter of a stop reply.
std::optional<std::uint8_t> parse_code(std::string_view payload) {
    if (payload.size() < 3) return std::nullopt;
    const auto value = parse_hex(payload.substr(1, 2));
    if (!value) return std::nullopt;
    return static_cast<std::uint8_t>(*value);
}

sys::Result<std::optional<Stop>> malformed() {
    return sys::failure(sys::ErrorKind::invalid, "a malformed stop reply");
}

/// The value of `thread` among `key:value;` pairs. False: there is one, and it is no processor's.
bool find_thread(std::string_view pairs, ThreadId& thread) {
    while (!pairs.empty()) {
        const std::size_t end = std::min(pairs.find(';'), pairs.size());
        const std::string_view pair = pairs.substr(0, end);
        pairs.remove_prefix(std::min(end + 1, pairs.size()));
        constexpr std::string_view key = "thread:";
        if (!pair.starts_with(key)) continue;
        const auto id = parse_thread_id(pair.substr(key.size()));
        if (!id) return false;
        thread = *id;
    }
    return true;
}

/// `Wxx`, `Xxx`, either with `;process:pid`.
sys::Result<std::optional<Stop>> parse_exit(std::string_view payload, std::uint8_t code) {
    if (payload.size() > 3 && payload[3] != ';') return malformed();
    constexpr std::uint8_t killed = 128; // as shells count
    const bool by_signal = payload.front() == 'X';
    return Stop{.kind = Stop::Kind::exited,
                .signal = 0,
                .thread = {},
                .status = by_signal ? static_cast<std::uint8_t>(killed | code) : code};
}

} // namespace

std::string to_string(ThreadId id) {
    return id.process == 0 ? fmt::format("{:x}", id.thread)
                           : fmt::format("p{:x}.{:x}", id.process, id.thread);
}

std::optional<ThreadId> parse_thread_id(std::string_view text) {
    if (!text.starts_with('p')) {
        const auto thread = parse_number(text);
        if (!thread) return std::nullopt;
        return ThreadId{.process = 0, .thread = *thread};
    }
    const std::size_t point = text.find('.');
    if (point == std::string_view::npos) return std::nullopt;
    const auto process = parse_number(text.substr(1, point - 1));
    const auto thread = parse_number(text.substr(point + 1));
    if (!process || !thread) return std::nullopt;
    return ThreadId{.process = *process, .thread = *thread};
}

sys::Result<std::optional<Stop>> parse_stop_reply(std::string_view payload) {
    if (payload.empty()) return malformed();
    if (payload.front() == 'O') {
        const bool hex = payload.find_first_not_of("0123456789abcdefABCDEF", 1) == std::string_view::npos;
        return hex ? sys::Result<std::optional<Stop>>(std::nullopt) : malformed();
    }
    const auto code = parse_code(payload);
    if (!code) return malformed();
    switch (payload.front()) {
    case 'T': {
        Stop stop{.kind = Stop::Kind::stopped, .signal = *code, .thread = {}};
        if (!find_thread(payload.substr(3), stop.thread)) return malformed();
        return stop;
    }
    case 'S':
        if (payload.size() != 3) return malformed();
        return Stop{.kind = Stop::Kind::stopped, .signal = *code, .thread = {}};
    case 'W':
    case 'X': return parse_exit(payload, *code);
    default: return malformed();
    }
}

} // namespace kmodguard::gdb
