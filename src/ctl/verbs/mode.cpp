// SPDX-License-Identifier: AGPL-3.0-only
#include "core/policy.hpp"
#include "ctl/mode_report.hpp"
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

namespace {

int show_mode(const Context& context) {
    if (context.has("for"))
        return context.fail({sys::ErrorKind::invalid, "there is no mode to be in force for that time",
                             "kmodctl mode audit --for 30m"});
    const auto daemon = context.ask("STATUS");
    if (!daemon) return context.fail(daemon.error());
    const std::string wanted = daemon->value("wanted-mode");
    context.text(mode_in_words(*daemon));
    if (!wanted.empty())
        context.text(
            fmt::format("wanted: {}, and not in force: {}", wanted, daemon->value("wanted-problem")));
    events::Json::Object object{{"mode", daemon->value("mode")}};
    std::int64_t seconds = 0;
    const std::string left = daemon->value("mode-seconds-left");
    if (std::from_chars(left.data(), left.data() + left.size(), seconds).ec == std::errc{})
        object.emplace_back("seconds_left", seconds);
    if (const std::string forced = daemon->value("mode-forced"); !forced.empty())
        object.emplace_back("forced", forced);
    if (!wanted.empty()) object.emplace_back("wanted", wanted);
    context.object(std::move(object));
    return exit_done;
}

} // namespace

int run_mode(const Context& context) {
    if (context.arguments.empty()) return show_mode(context);
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
