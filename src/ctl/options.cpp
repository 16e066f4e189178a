// SPDX-License-Identifier: AGPL-3.0-only
#include "ctl/options.hpp"

#include "core/names.hpp"
#include "enforce/guest/kernel_addresses.hpp"

#include <charconv>

namespace kmodguard::ctl {

std::string_view read_value(std::string_view /*text*/, bool& value) {
    value = true;
    return "";
}

std::string_view read_value(std::string_view text, std::string& value) {
    value = text;
    return "";
}

std::string_view read_value(std::string_view text, std::optional<std::string>& value) {
    value = text;
    return "";
}

std::string_view read_value(std::string_view text, Words& value) {
    value.emplace_back(text);
    return "";
}

std::string_view read_value(std::string_view text, std::optional<Release>& value) {
    if (text == "." || text == ".." || text.contains('/')) return "names no kernel, but a path";
    if (!core::is_token(text)) return "names no kernel";
    value = Release{std::string(text)};
    return "";
}

std::string_view read_value(std::string_view text, std::optional<core::Mode>& value) {
    value = core::mode_from(text);
    return value ? "" : "is not a mode";
}

std::string_view read_value(std::string_view text, std::optional<core::CallerAnswer>& value) {
    value = core::answer_from(text);
    return value ? "" : "is not \"refuse\" or \"pretend\"";
}

std::string_view read_value(std::string_view text, std::optional<std::chrono::seconds>& value) {
    constexpr long max = 1'000'000;
    constexpr std::string_view complaint = "is not a length of time";
    long number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc{} || number < 1 || number > max) return complaint;
    const std::string_view unit(end, text.data() + text.size());
    if (unit.empty() || unit == "s")
        value = std::chrono::seconds(number);
    else if (unit == "m")
        value = std::chrono::minutes(number);
    else if (unit == "h")
        value = std::chrono::hours(number);
    else if (unit == "d")
        value = std::chrono::days(number);
    else
        return complaint;
    return "";
}

std::string_view read_value(std::string_view text, std::optional<std::uint64_t>& value) {
    constexpr int hexadecimal = 16;
    if (text.starts_with("0x")) text.remove_prefix(2);
    std::uint64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, hexadecimal);
    if (error != std::errc{} || end != text.data() + text.size()) return "is not a hexadecimal number";
    value = number;
    return "";
}

std::string_view read_value(std::string_view text, guest::Interception& value) {
    if (text == "load-module")
        value = guest::Interception::load_module;
    else if (text == "system-call")
        value = guest::Interception::system_call;
    else
        return "is not \"load-module\" or \"system-call\"";
    return "";
}

} // namespace kmodguard::ctl
