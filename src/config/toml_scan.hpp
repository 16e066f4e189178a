// SPDX-License-Identifier: AGPL-3.0-only
//
// Where things are in the text of a TOML file: strings, comments, arrays and their elements, in bytes. A
// parser throws this away, and an editor that keeps comments lives on it. Every function here is total: for
// any bytes it stops within the text, makes progress, and does not recurse.
#pragma once

#include "config/document.hpp"

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace kmodguard::config {

/// Half open, in bytes.
struct Span {
    std::size_t begin = 0;
    std::size_t end = 0;

    [[nodiscard]] std::size_t size() const { return end - begin; }
    [[nodiscard]] std::string_view in(std::string_view text) const { return text.substr(begin, size()); }
    bool operator==(const Span&) const = default;
};

inline constexpr std::size_t nowhere = std::string_view::npos;

/// The byte at `position`, or `nowhere`. A byte order mark takes no column.
[[nodiscard]] std::size_t offset_of(std::string_view text, Position position);

/// Start of the line of `at`.
[[nodiscard]] std::size_t line_begin(std::string_view text, std::size_t at);
/// The '\n' that ends the line of `at`, or the end of the text.
[[nodiscard]] std::size_t line_end(std::string_view text, std::size_t at);
/// The first byte of the line after that of `at`, or the end of the text.
[[nodiscard]] std::size_t next_line(std::string_view text, std::size_t at);

/// Behind the string whose opening quote is at `at`: any of the four kinds. An unterminated one ends with its
/// line, an unterminated multi-line one with the text.
[[nodiscard]] std::size_t skip_string(std::string_view text, std::size_t at);

/// Behind spaces and tabs.
[[nodiscard]] std::size_t skip_spaces(std::string_view text, std::size_t at);
/// The spaces and tabs that the line of `at` begins with.
[[nodiscard]] std::string_view indentation_at(std::string_view text, std::size_t at);
/// Behind white space, line breaks and comments.
[[nodiscard]] std::size_t skip_blank(std::string_view text, std::size_t at);

/// Behind the value that begins at `at`; trailing white space does not belong to it. Returns `at` if there is
/// none.
[[nodiscard]] std::size_t skip_value(std::string_view text, std::size_t at);

struct ArrayElement {
    Span span;
    std::size_t comma = nowhere; ///< the comma behind it
};

struct ArrayLayout {
    Span span; ///< from '[' to behind ']'
    std::vector<ArrayElement> elements;
    bool multi_line = false; ///< a line break is between two of its parts
};

/// The parts of the array whose '[' is at `at`; none if there is no well-formed array.
[[nodiscard]] std::optional<ArrayLayout> scan_array(std::string_view text, std::size_t at);

/// What is outside strings and comments, counted.
struct Census {
    std::size_t commas = 0;
    std::size_t brackets = 0; ///< '[' and '{'
    std::size_t dots = 0;
    std::size_t equals = 0;
};
[[nodiscard]] Census take_census(std::string_view text);

/// "\r\n" if the first line of `text` ends so, otherwise "\n".
[[nodiscard]] std::string_view newline_of(std::string_view text);

} // namespace kmodguard::config
