// SPDX-License-Identifier: AGPL-3.0-only
#include "sys/trace.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <ranges>
#include <string>
#include <utility>

namespace kmodguard::sys {
namespace {

constexpr std::size_t max_line = 1000; ///< bytes of a message, escaped

constexpr std::array<std::pair<Topic, std::string_view>, 6> names = {{{Topic::packets, "packets"},
                                                                      {Topic::bpf, "bpf"},
                                                                      {Topic::cache, "cache"},
                                                                      {Topic::decisions, "decisions"},
                                                                      {Topic::calls, "calls"},
                                                                      {Topic::files, "files"}}};

Result<unsigned> topics_of(std::string_view name) {
    unsigned topics = 0;
    for (const auto& [topic, known] : names)
        if (name == known || name == "all") topics |= static_cast<unsigned>(topic);
    if (topics != 0) return topics;
    return failure(ErrorKind::invalid, fmt::format("--debug knows no \"{}\"", name.substr(0, 32)),
                   fmt::format("it takes all, or a list of {}", fmt::join(names | std::views::values, ", ")));
}

} // namespace

Result<void> start_trace(std::string_view text) {
    unsigned topics = 0;
    while (!text.empty()) {
        const std::string_view name = text.substr(0, text.find(','));
        const unsigned found = TRY(topics_of(name));
        topics |= found;
        text.remove_prefix(std::min(text.size(), name.size() + 1));
    }
    trace_state::topics.store(topics, std::memory_order_relaxed);
    return {};
}

void write_trace(Topic topic, fmt::string_view format, fmt::format_args arguments) {
    const auto name = std::ranges::find(names, topic, &std::pair<Topic, std::string_view>::first);
    std::string line = fmt::format("debug {}: ", name == names.end() ? "" : name->second);
    for (const char c : fmt::vformat(format, arguments)) {
        if (line.size() >= max_line) {
            line += "...";
            break;
        }
        if (c >= ' ' && c <= '~')
            line += c;
        else
            fmt::format_to(std::back_inserter(line), "\\x{:02x}", static_cast<unsigned char>(c));
    }
    line += '\n';
    [[maybe_unused]] const ssize_t written =
        ::write(STDERR_FILENO, line.data(), line.size()); // at once: threads share it
}

} // namespace kmodguard::sys
