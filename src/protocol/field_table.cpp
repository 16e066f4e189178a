// SPDX-License-Identifier: AGPL-3.0-only
#include "protocol/field_table.hpp"

#include <charconv>

namespace kmodguard::protocol {

std::string text_of(bool value) {
    return value ? "yes" : "no";
}

std::string text_of(std::uint64_t value) {
    return std::to_string(value);
}

std::string text_of(core::Mode value) {
    return std::string(to_string(value));
}

bool from_text(const std::string& text, bool& value) {
    value = text == "yes";
    return value || text == "no";
}

bool from_text(const std::string& text, std::uint64_t& value) {
    const char* end = text.data() + text.size();
    const auto parsed = std::from_chars(text.data(), end, value);
    return parsed.ec == std::errc{} && parsed.ptr == end;
}

bool from_text(const std::string& text, core::Mode& value) {
    const auto mode = core::mode_from(text);
    if (mode) value = *mode;
    return mode.has_value();
}

bool from_text(const std::string& text, std::string& value) {
    value = text;
    return true;
}

} // namespace kmodguard::protocol
