// SPDX-License-Identifier: AGPL-3.0-only
//
// A trace of what a program does, on standard error, for those who look for a fault in it: `--debug`
// (docs/developing.md).
//
// Which topics are traced is the one thing that is global in these programs: main() sets it once, before
// there are threads, and everything may read it. Handed down instead, it would be an argument of nearly every
// function. Off, a call costs a relaxed load and a branch, and formats nothing.
#pragma once

#include "sys/result.hpp"

#include <fmt/core.h>

#include <atomic>
#include <string_view>

namespace kmodguard::sys {

enum class Topic : unsigned {
    packets = 1U << 0U,   ///< to and from a guest's debugger stub
    bpf = 1U << 1U,       ///< programs of the kernel point: loaded, published, put right
    cache = 1U << 2U,     ///< decisions that were remembered, and those that were not
    decisions = 1U << 3U, ///< what was asked, and what was decided
    calls = 1U << 4U,     ///< system calls of supervised processes
    files = 1U << 5U,     ///< what was read of files, and kept
};

namespace trace_state {
inline constinit std::atomic<unsigned> topics{0}; // NOLINT(*-avoid-non-const-global-variables): see above
} // namespace trace_state

/// Traces what `text` names: "packets,bpf", "all"; "" is nothing. ErrorKind::invalid for a name that is no
/// topic.
[[nodiscard]] Result<void> start_trace(std::string_view text);

[[nodiscard]] inline bool is_traced(Topic topic) {
    return (trace_state::topics.load(std::memory_order_relaxed) & static_cast<unsigned>(topic)) != 0;
}

/// One line. What is not printable ASCII in it is escaped, and it is cut where it is long.
void write_trace(Topic topic, fmt::string_view format, fmt::format_args arguments);

template <typename... Arguments>
void trace(Topic topic, fmt::format_string<const Arguments&...> format, const Arguments&... arguments) {
    if (is_traced(topic)) [[unlikely]]
        write_trace(topic, format, fmt::make_format_args(arguments...));
}

} // namespace kmodguard::sys
