// SPDX-License-Identifier: AGPL-3.0-only
//
// TOML as text: values as they are written, and changes to the text of a file as its author would have made
// them. What is taken out of an array goes with its comma, and with its line if that had nothing else in it;
// what is put in looks like its neighbours. Everything else stays byte for byte.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace kmodguard::config {

/// `text` as a string: in single quotes if `literal` and possible, otherwise in double quotes.
[[nodiscard]] std::string toml_string(std::string_view text, bool literal = false);

/// An array of strings. On one line; or over several lines, which begin with `indentation` and end with
/// `newline`, one element on each.
[[nodiscard]] std::string toml_array(std::span<const std::string> elements, bool multi_line,
                                     std::string_view indentation = "", std::string_view newline = "\n");

/// Comment lines and an empty line; "" for no paragraphs.
[[nodiscard]] std::string toml_comment(std::span<const std::string> paragraphs);

/// Whether `text` is exactly a date-time in UTC as it is written, "2026-11-21T00:00:00Z".
[[nodiscard]] bool is_toml_date_time(const std::string& text);

/// Takes element `number` out of the array whose '[' is at `array`. False: that is not understood, and
/// nothing was changed.
[[nodiscard]] bool remove_element(std::string& text, std::size_t array, std::size_t number);

/// Puts `entries` at the end of the array of strings whose '[' is at `array`: in an array over several lines
/// one on each, directly before the closing bracket's line. False as above.
[[nodiscard]] bool add_elements(std::string& text, std::size_t array, std::span<const std::string> entries);

/// Inserts `line` as a line of its own behind that of `at`.
void insert_line_behind(std::string& text, std::size_t at, std::string_view line);

} // namespace kmodguard::config
