// SPDX-License-Identifier: AGPL-3.0-only
#include "config/toml_edit.hpp"

#include "config/toml_scan.hpp"
#include "core/names.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <vector>

namespace kmodguard::config {
namespace {

constexpr std::size_t max_comment = 400;

bool is_blank(std::string_view text) {
    return text.find_first_not_of(" \t\r") == nowhere;
}

bool on_one_line(std::string_view text, std::size_t from, std::size_t to) {
    return Span{from, to}.in(text).find('\n') == nowhere;
}

/// The comma that goes with an element: one on its own line, in front only if none follows there; failing
/// that the one that follows on another line. `nowhere` if a comma in front may stay, as a trailing one.
std::size_t comma_to_remove(std::string_view text, const ArrayLayout& layout, std::size_t number) {
    const ArrayElement& element = layout.elements[number];
    const std::size_t before = number > 0 ? layout.elements[number - 1].comma : nowhere;
    const bool follows = element.comma != nowhere && on_one_line(text, element.span.end, element.comma);
    if (!follows && before != nowhere && on_one_line(text, before, element.span.begin)) return before;
    return element.comma;
}

/// Whether `lines` have nothing but the element, the comma that goes with it and a comment.
bool is_alone(std::string_view text, Span lines, Span element, std::size_t comma) {
    std::string before(Span{lines.begin, element.begin}.in(text));
    std::string after(Span{element.end, lines.end}.in(text));
    if (comma >= lines.begin && comma < element.begin) before[comma - lines.begin] = ' ';
    if (comma >= element.end && comma < lines.end) after[comma - element.end] = ' ';
    const std::size_t comment = skip_spaces(after, 0);
    return is_blank(before) && (is_blank(after) || after[comment] == '#');
}

/// The element, its comma if that touches it, and the white space that would be left over.
Span with_white_space(std::string_view text, Span element, std::size_t comma) {
    Span cut = element;
    if (comma < element.begin) return {comma, element.end};
    if (comma != nowhere && on_one_line(text, element.end, comma)) cut.end = comma + 1;
    const std::size_t next = skip_spaces(text, cut.end);
    const bool last_on_line = next == text.size() || std::string_view("]#\r\n").find(text[next]) != nowhere;
    if (!last_on_line) {
        cut.end = next;
        return cut;
    }
    while (cut.begin > 0 && (text[cut.begin - 1] == ' ' || text[cut.begin - 1] == '\t'))
        --cut.begin;
    return cut;
}

/// How the entries of an array are written.
struct Style {
    bool literal = false; ///< 'single quotes'
    bool trailing_comma = true;
    bool comma_first = false;     ///< one that opens the line
    std::string indentation;      ///< of a line with an entry
    std::string separator = ", "; ///< between entries on one line
};

/// That of the last entry or comment that begins a line, or one step deeper than the closing bracket.
std::string indentation_of(std::string_view text, const ArrayLayout& layout) {
    const std::size_t closing = layout.span.end - 1;
    for (auto element = layout.elements.rbegin(); element != layout.elements.rend(); ++element) {
        const std::size_t begin = line_begin(text, element->span.begin);
        const std::size_t first = skip_spaces(text, begin);
        if (begin > layout.span.begin && (first == element->span.begin || text[first] == ','))
            return std::string(indentation_at(text, first));
    }
    for (std::size_t line = next_line(text, layout.span.begin); line < closing; line = next_line(text, line))
        if (text[skip_spaces(text, line)] == '#') return std::string(indentation_at(text, line));
    const std::string_view outer = indentation_at(text, closing);
    return std::string(outer) + (outer.starts_with('\t') ? "\t" : "    ");
}

Style style_of(std::string_view text, const ArrayLayout& layout) {
    Style style;
    if (layout.multi_line) style.indentation = indentation_of(text, layout);
    if (layout.elements.empty()) return style;
    const ArrayElement& last = layout.elements.back();
    style.literal = text[last.span.begin] == '\'';
    style.trailing_comma = last.comma != nowhere;
    if (layout.elements.size() < 2) return style;
    const std::size_t comma = layout.elements[layout.elements.size() - 2].comma;
    const char behind = text[layout.elements.front().comma + 1];
    if (!layout.multi_line && behind != ' ' && behind != '\t') style.separator = ",";
    style.comma_first =
        skip_spaces(text, line_begin(text, last.span.begin)) == comma && !style.trailing_comma;
    return style;
}

void add_on_one_line(std::string& text, const ArrayLayout& layout, const Style& style,
                     const std::vector<std::string>& entries) {
    const std::string joined = fmt::format("{}", fmt::join(entries, style.separator));
    if (layout.elements.empty()) {
        const std::string_view padding = layout.span.size() > 2 ? " " : "";
        text.replace(layout.span.begin, layout.span.size(),
                     fmt::format("[{}{}{}]", padding, joined, padding));
    } else if (style.trailing_comma) {
        text.insert(layout.elements.back().comma + 1, style.separator.substr(1) + joined + ",");
    } else {
        text.insert(layout.elements.back().span.end, style.separator + joined);
    }
}

/// The lines of the new entries; no line break behind the last.
std::string lines_for(const std::vector<std::string>& entries, const Style& style, std::string_view newline) {
    std::string lines;
    for (std::size_t i = 0; i < entries.size(); ++i) {
        const bool last = i + 1 == entries.size();
        const bool comma = !style.comma_first && (!last || style.trailing_comma);
        lines += fmt::format("{}{}{}{}{}", style.indentation, style.comma_first ? ", " : "", entries[i],
                             comma ? "," : "", last ? std::string_view{} : newline);
    }
    return lines;
}

void add_on_own_lines(std::string& text, const ArrayLayout& layout, const Style& style,
                      const std::vector<std::string>& entries) {
    const std::string newline(newline_of(text));
    const std::string lines = lines_for(entries, style, newline);
    const std::size_t closing = layout.span.end - 1;
    const std::size_t closing_line = line_begin(text, closing);
    const bool needs_comma =
        !layout.elements.empty() && layout.elements.back().comma == nowhere && !style.comma_first;
    if (is_blank(Span{closing_line, closing}.in(text))) {
        text.insert(closing_line, lines + newline);
        if (needs_comma) text.insert(layout.elements.back().span.end, ",");
        return;
    }
    // The bracket closes on the line of the last entry.
    const ArrayElement& last = layout.elements.back();
    const std::size_t behind = last.comma != nowhere ? last.comma + 1 : last.span.end;
    text.insert(behind, (needs_comma ? "," : "") + newline + lines);
}

} // namespace

std::string toml_string(std::string_view text, bool literal) {
    const auto is_control = [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; };
    const bool plain = std::ranges::none_of(text, is_control);
    if (literal && plain && text.find('\'') == nowhere) return fmt::format("'{}'", text);
    std::string quoted = "\"";
    for (const char c : text) {
        if (is_control(c))
            quoted += fmt::format("\\u{:04X}", static_cast<unsigned>(c));
        else if (c == '"' || c == '\\')
            quoted += {'\\', c};
        else
            quoted += c;
    }
    return quoted + "\"";
}

std::string toml_array(std::span<const std::string> elements, bool multi_line, std::string_view indentation,
                       std::string_view newline) {
    std::string array = "[";
    for (std::size_t i = 0; i < elements.size(); ++i) {
        if (multi_line)
            array += fmt::format("{}{}    {},", newline, indentation, toml_string(elements[i]));
        else
            array += (i > 0 ? ", " : "") + toml_string(elements[i]);
    }
    return array + (multi_line ? fmt::format("{}{}]", newline, indentation) : "]");
}

std::string toml_comment(std::span<const std::string> paragraphs) {
    std::string text;
    for (const std::string& paragraph : paragraphs) {
        std::string_view rest = paragraph;
        while (true) {
            const std::size_t end = rest.find('\n');
            const std::string line = core::printable(rest.substr(0, end), max_comment);
            text += line.empty() ? "#\n" : fmt::format("# {}\n", line);
            if (end == std::string_view::npos) break;
            rest.remove_prefix(end + 1);
        }
    }
    return text.empty() ? text : text + "\n";
}

bool is_toml_date_time(const std::string& text) {
    std::tm time{};
    if (::strptime(text.c_str(), "%Y-%m-%dT%H:%M:%SZ", &time) == nullptr) return false;
    ::timegm(&time); // makes another date of one that does not exist, so that it differs from the text
    return text
           == fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", time.tm_year + 1900, time.tm_mon + 1,
                          time.tm_mday, time.tm_hour, time.tm_min, time.tm_sec);
}

bool remove_element(std::string& text, std::size_t array, std::size_t number) {
    const auto layout = scan_array(text, array);
    if (!layout || number >= layout->elements.size()) return false;
    const Span element = layout->elements[number].span;
    const std::size_t comma = comma_to_remove(text, *layout, number);
    const Span lines{line_begin(text, element.begin), line_end(text, element.end)};
    const Span cut = is_alone(text, lines, element, comma) ? Span{lines.begin, next_line(text, element.end)}
                                                           : with_white_space(text, element, comma);
    if (comma != nowhere && comma >= cut.end) text.erase(comma, 1);
    text.erase(cut.begin, cut.size());
    if (comma < cut.begin) text.erase(comma, 1);
    return true;
}

bool add_elements(std::string& text, std::size_t array, std::span<const std::string> entries) {
    const auto layout = scan_array(text, array);
    if (!layout) return false;
    if (entries.empty()) return true;
    const Style style = style_of(text, *layout);
    std::vector<std::string> written;
    for (const std::string& entry : entries)
        written.push_back(toml_string(entry, style.literal));
    if (layout->multi_line)
        add_on_own_lines(text, *layout, style, written);
    else
        add_on_one_line(text, *layout, style, written);
    return true;
}

void insert_line_behind(std::string& text, std::size_t at, std::string_view line) {
    const std::string newline(newline_of(text));
    const std::size_t end = line_end(text, at);
    if (end == text.size())
        text += fmt::format("{}{}{}", newline, line, newline);
    else
        text.insert(end + 1, fmt::format("{}{}", line, newline));
}

} // namespace kmodguard::config
