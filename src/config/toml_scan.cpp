// SPDX-License-Identifier: AGPL-3.0-only
#include "config/toml_scan.hpp"

#include <algorithm>

namespace kmodguard::config {
namespace {

constexpr std::string_view byte_order_mark = "\xEF\xBB\xBF";

bool is_quote(char c) {
    return c == '"' || c == '\'';
}

std::size_t skip_multi_line_string(std::string_view text, std::size_t at) {
    const char quote = text[at];
    const std::string closing(3, quote);
    std::size_t i = at + 3;
    while (i < text.size()) {
        if (quote == '"' && text[i] == '\\') {
            i += 2;
        } else if (text.substr(i).starts_with(closing)) {
            i += 3;
            // Up to two quotes before the closing ones belong to the content.
            for (int extra = 0; extra < 2 && i < text.size() && text[i] == quote; ++extra)
                ++i;
            return i;
        } else {
            ++i;
        }
    }
    return text.size();
}

/// The first byte from `at` on that is in no string and no comment, or the end of the text.
std::size_t skip_strings_and_comments(std::string_view text, std::size_t at) {
    while (at < text.size()) {
        if (is_quote(text[at]))
            at = skip_string(text, at);
        else if (text[at] == '#')
            at = line_end(text, at);
        else
            break;
    }
    return at;
}

/// Behind the array or inline table that begins at `at`.
std::size_t skip_bracketed(std::string_view text, std::size_t at) {
    std::size_t depth = 0;
    for (std::size_t i = at; i < text.size(); i = skip_strings_and_comments(text, i + 1)) {
        const char c = text[i];
        if (c == '[' || c == '{') ++depth;
        if ((c == ']' || c == '}') && --depth == 0) return i + 1;
    }
    return text.size();
}

} // namespace

std::size_t offset_of(std::string_view text, Position position) {
    if (position.line == 0 || position.column == 0) return nowhere;
    std::size_t i = text.starts_with(byte_order_mark) ? byte_order_mark.size() : 0;
    for (unsigned line = 1; line < position.line; ++line) {
        const std::size_t end = text.find('\n', i);
        if (end == nowhere) return nowhere;
        i = end + 1;
    }
    for (unsigned column = 1; column < position.column; ++column) {
        if (i >= text.size() || text[i] == '\n') return nowhere;
        ++i;
        while (i < text.size()
               && (static_cast<unsigned char>(text[i]) & 0xC0U) == 0x80U) // of the same character
            ++i;
    }
    return i < text.size() ? i : nowhere;
}

std::size_t line_begin(std::string_view text, std::size_t at) {
    const std::size_t previous = at == 0 ? nowhere : text.rfind('\n', at - 1);
    return previous == nowhere ? 0 : previous + 1;
}

std::size_t line_end(std::string_view text, std::size_t at) {
    return std::min(text.find('\n', at), text.size());
}

std::size_t next_line(std::string_view text, std::size_t at) {
    return std::min(line_end(text, at) + 1, text.size());
}

std::size_t skip_string(std::string_view text, std::size_t at) {
    const char quote = text[at];
    if (text.substr(at).starts_with(std::string(3, quote))) return skip_multi_line_string(text, at);
    std::size_t i = at + 1;
    while (i < text.size() && text[i] != '\n') {
        if (text[i] == quote) return i + 1;
        const bool escape = quote == '"' && text[i] == '\\' && i + 1 < text.size() && text[i + 1] != '\n';
        i += escape ? 2 : 1;
    }
    return std::min(i, text.size());
}

std::size_t skip_spaces(std::string_view text, std::size_t at) {
    return std::min(text.find_first_not_of(" \t", at), text.size());
}

std::string_view indentation_at(std::string_view text, std::size_t at) {
    const std::size_t begin = line_begin(text, at);
    return text.substr(begin, skip_spaces(text, begin) - begin);
}

std::size_t skip_blank(std::string_view text, std::size_t at) {
    while (at < text.size()) {
        at = std::min(text.find_first_not_of(" \t\r\n", at), text.size());
        if (at == text.size() || text[at] != '#') return at;
        at = line_end(text, at);
    }
    return text.size();
}

std::size_t skip_value(std::string_view text, std::size_t at) {
    if (at >= text.size()) return at;
    if (is_quote(text[at])) return skip_string(text, at);
    if (text[at] == '[' || text[at] == '{') return skip_bracketed(text, at);
    std::size_t end = std::min(text.find_first_of(",]}#\r\n", at), text.size());
    while (end > at && (text[end - 1] == ' ' || text[end - 1] == '\t'))
        --end;
    return end;
}

std::optional<ArrayLayout> scan_array(std::string_view text, std::size_t at) {
    if (at >= text.size() || text[at] != '[') return std::nullopt;
    ArrayLayout layout;
    std::size_t i = at + 1;
    while (true) {
        const Span gap{i, skip_blank(text, i)};
        if (gap.in(text).find('\n') != nowhere) layout.multi_line = true;
        i = gap.end;
        if (i == text.size()) return std::nullopt;
        if (text[i] == ']') break;
        if (text[i] == ',') {
            if (layout.elements.empty() || layout.elements.back().comma != nowhere) return std::nullopt;
            layout.elements.back().comma = i++;
            continue;
        }
        if (!layout.elements.empty() && layout.elements.back().comma == nowhere) return std::nullopt;
        const std::size_t end = skip_value(text, i);
        if (end == i) return std::nullopt;
        layout.elements.push_back({{i, end}, nowhere});
        i = end;
    }
    layout.span = {at, i + 1};
    return layout;
}

Census take_census(std::string_view text) {
    Census census;
    for (std::size_t i = skip_strings_and_comments(text, 0); i < text.size();
         i = skip_strings_and_comments(text, i + 1)) {
        const char c = text[i];
        if (c == ',') ++census.commas;
        if (c == '[' || c == '{') ++census.brackets;
        if (c == '.') ++census.dots;
        if (c == '=') ++census.equals;
    }
    return census;
}

std::string_view newline_of(std::string_view text) {
    const std::size_t first = text.find('\n');
    return first != nowhere && first > 0 && text[first - 1] == '\r' ? "\r\n" : "\n";
}

} // namespace kmodguard::config
