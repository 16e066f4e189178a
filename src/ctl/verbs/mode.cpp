// SPDX-License-Identifier: AGPL-3.0-only
#include "core/policy.hpp"
#include "ctl/verbs.hpp"

#include <fmt/format.h>

#include <charconv>

namespace kmodguard::ctl {
namespace {

/// "90s", "30m", "8h", "1d", or a plain number of seconds. Nothing if it is none of these.
std::optional<long> seconds_of(std::string_view text) {
    long number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    constexpr long most = 1'000'000;
    if (error != std::errc{} || number < 1 || number > most) return std::nullopt;
    const std::string_view unit(end, text.data() + text.size());
    if (unit.empty() || unit == "s") return number;
    if (unit == "m") return number * 60;
    if (unit == "h") return number * 3600;
    if (unit == "d") return number * 86400;
    return std::nullopt;
}

} // namespace

int run_mode(const Context& context) {
    const std::string& mode = context.arguments.front();
    if (!core::mode_from(mode))
        return context.fail({sys::ErrorKind::invalid, fmt::format("\"{}\" is no mode", mode),
                             "the modes are enforce and audit"});
    const auto limit = context.option("for");
    if (!limit) return context.change_and_print("MODE", mode);
    const auto seconds = seconds_of(*limit);
    if (!seconds)
        return context.fail({sys::ErrorKind::invalid, fmt::format("\"{}\" is no length of time", *limit),
                             "write 90s, 30m, 8h or 1d"});
    return context.change_and_print("MODE", fmt::format("{} {}", mode, *seconds));
}

} // namespace kmodguard::ctl
