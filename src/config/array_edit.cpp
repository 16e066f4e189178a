// SPDX-License-Identifier: AGPL-3.0-only
#include "config/array_edit.hpp"

#include "config/toml_scan.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

namespace kmodguard::config {
namespace {

bool is_blank(std::string_view text) {
    return text.find_first_not_of(" \t\r") == nowhere;
}

bool on_one_line(std::string_view text, std::size_t from, std::size_t to) {
    return Span{from, to}.in(text).find('\n') == nowhere;
}

Span comma_span(std::size_t comma) {
    return {comma, comma + 1};
}

/// The comma that goes with an element: one on its own line, in front only if none follows there; failing
/// that the one that follows on another line. Empty if a comma in front may stay, as a trailing one.
Span comma_to_remove(std::string_view text, const ArrayLayout& layout, std::size_t number) {
    const ArrayElement& element = layout.elements[number];
    if (element.comma != nowhere && on_one_line(text, element.span.end, element.comma))
        return comma_span(element.comma);
    if (number > 0) {
        const std::size_t before = layout.elements[number - 1].comma;
        if (on_one_line(text, before, element.span.begin)) return comma_span(before);
    }
    return element.comma != nowhere ? comma_span(element.comma) : Span{element.span.end, element.span.end};
}

/// The lines of an element from first to last byte, without the final line break.
Span lines_of(std::string_view text, Span element) {
    return {line_begin(text, element.begin), line_end(text, element.end)};
}

/// Whether `lines` hold nothing but the element, the comma that goes with it and a comment.
bool stands_alone(std::string_view text, Span lines, Span element, Span comma) {
    std::string before(Span{lines.begin, element.begin}.in(text));
    std::string after(Span{element.end, lines.end}.in(text));
    if (comma.size() > 0 && comma.begin >= lines.begin && comma.begin < element.begin)
        before[comma.begin - lines.begin] = ' ';
    if (comma.size() > 0 && comma.begin >= element.end && comma.begin < lines.end)
        after[comma.begin - element.end] = ' ';
    const std::size_t comment = skip_spaces(after, 0);
    return is_blank(before) && (is_blank(after) || after[comment] == '#');
}

/// The element, its comma if that touches it, and the white space that would be left over.
Span with_white_space(std::string_view text, Span element, Span comma) {
    Span cut = element;
    if (comma.size() > 0 && comma.begin < element.begin) return {comma.begin, element.end};
    if (comma.size() > 0 && on_one_line(text, element.end, comma.begin)) cut.end = comma.end;
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
        const std::string gap = style.separator.substr(1);
        text.insert(layout.elements.back().comma + 1, fmt::format("{}{},", gap, joined));
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

bool remove_element(std::string& text, std::size_t array, std::size_t number) {
    const auto layout = scan_array(text, array);
    if (!layout || number >= layout->elements.size()) return false;
    const Span element = layout->elements[number].span;
    const Span comma = comma_to_remove(text, *layout, number);
    const Span lines = lines_of(text, element);
    const Span cut = stands_alone(text, lines, element, comma)
                         ? Span{lines.begin, next_line(text, element.end)}
                         : with_white_space(text, element, comma);
    const bool comma_apart = comma.size() > 0 && (comma.begin < cut.begin || comma.begin >= cut.end);
    if (comma_apart && comma.begin >= cut.end) text.erase(comma.begin, 1);
    text.erase(cut.begin, cut.size());
    if (comma_apart && comma.begin < cut.begin) text.erase(comma.begin, 1);
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

std::string toml_string(std::string_view entry, bool literal) {
    const auto is_control = [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; };
    const bool plain = std::ranges::none_of(entry, is_control);
    if (literal && plain && entry.find('\'') == nowhere) return fmt::format("'{}'", entry);
    std::string quoted = "\"";
    for (const char c : entry) {
        if (is_control(c))
            quoted += fmt::format("\\u{:04X}", static_cast<unsigned>(c));
        else if (c == '"' || c == '\\')
            quoted += {'\\', c};
        else
            quoted += c;
    }
    return quoted + "\"";
}

} // namespace kmodguard::config
