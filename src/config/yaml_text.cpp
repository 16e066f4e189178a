// SPDX-License-Identifier: AGPL-3.0-only
#include "config/yaml_text.hpp"

#include "config/toml_scan.hpp"
#include "core/names.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace kmodguard::config {
namespace {

constexpr std::string_view yaml_byte_order_mark = "\xEF\xBB\xBF";
constexpr std::string_view indicators = "[]{},:!?&*\"'";

using core::Character;

/// Control characters, and what some parsers take for a line break or the mark of an encoding.
bool is_refused(char32_t code) {
    if (code == '\t' || code == '\n') return false;
    return code < 0x20 || (code >= 0x7F && code < 0xA0) || code == 0x2028 || code == 0x2029 || code == 0xFEFF
           || code == 0xFFFE || code == 0xFFFF;
}

std::string name_of(Character character, std::string_view text) {
    if (character.length == 0)
        return fmt::format("the byte 0x{:02x} is not UTF-8", static_cast<unsigned char>(text.front()));
    if (character.code == '\0') return "a NUL byte: this is not a text file";
    if (character.code == '\r') return "a carriage return without a line feed";
    return fmt::format("the character U+{:04X} has no place in a policy",
                       static_cast<unsigned>(character.code));
}

} // namespace

std::optional<Diagnostic> check_yaml_text(std::string_view text, const std::string& shown_name) {
    std::size_t i = text.starts_with(yaml_byte_order_mark) ? yaml_byte_order_mark.size() : 0;
    unsigned line = 1;
    unsigned column = 1;
    while (i < text.size()) {
        const std::string_view rest = text.substr(i);
        const Character character = core::first_character(rest);
        const bool line_break = rest.starts_with("\r\n");
        if (character.length == 0 || (is_refused(character.code) && !line_break))
            return Diagnostic{Severity::error,
                              shown_name,
                              line,
                              column,
                              name_of(character, rest),
                              "save the file as plain text, in UTF-8"};
        i += character.length;
        ++column;
        if (character.code == '\n') {
            ++line;
            column = 1;
        }
    }
    const auto marks = std::ranges::count_if(text, [](char c) { return indicators.find(c) != nowhere; });
    if (static_cast<std::size_t>(marks) > max_yaml_indicators)
        return Diagnostic{Severity::error,
                          shown_name,
                          0,
                          0,
                          "too much structure: this is not a policy",
                          "keep plugins.kmods in a file of its own"};
    return std::nullopt;
}

YamlPlaces::YamlPlaces(std::string_view text)
    : text_(text.starts_with(yaml_byte_order_mark) ? text.substr(yaml_byte_order_mark.size()) : text) {}

void YamlPlaces::go_to(std::size_t line, std::size_t column) {
    if (line < line_) line_ = line_begin_ = 0;
    if (line != line_ || column < bytes_) bytes_ = characters_ = 0;
    while (line_ < line) {
        const std::size_t end = line_end(text_, line_begin_);
        if (end == text_.size()) { // behind the last line, where the end of the text is meant
            column = end - line_begin_;
            break;
        }
        line_begin_ = end + 1;
        ++line_;
    }
    const std::size_t end = std::min(line_begin_ + column, text_.size());
    for (std::size_t i = line_begin_ + bytes_; i < end; ++i)
        if ((static_cast<unsigned char>(text_[i]) & 0xC0U) != 0x80U) ++characters_;
    bytes_ = std::max(end - line_begin_, bytes_);
}

Position YamlPlaces::at(std::size_t line, std::size_t column) {
    go_to(line, column);
    return {static_cast<unsigned>(line_ + 1), static_cast<unsigned>(characters_ + 1)};
}

Position YamlPlaces::of_empty_entry(std::size_t line, std::size_t column) {
    const Position next = at(line, column);
    std::size_t begin = line_begin_;
    for (unsigned number = next.line; number-- > 1;) {
        begin = config::line_begin(text_, begin - 1);
        std::string_view content = text_.substr(begin, line_end(text_, begin) - begin);
        if (const std::size_t comment = content.find(" #"); comment != nowhere)
            content = content.substr(0, comment);
        const std::size_t last = content.find_last_not_of(" \t\r");
        if (last == nowhere || content[content.find_first_not_of(" \t")] == '#') continue;
        if (content[last] != '-') break;
        return {number, static_cast<unsigned>(last + 1)};
    }
    return next;
}

} // namespace kmodguard::config
