// SPDX-License-Identifier: AGPL-3.0-only
//
// The text of a YAML file before and beside its parser. Two programs must not read one policy in two ways, so
// bytes that parsers disagree about (other encodings, control characters, line breaks other than LF and CRLF)
// are refused here. And yaml-cpp holds back its tokens for as long as it takes to know whether they are a
// key, which can be the whole file, so there may not be too many of them. It counts columns in bytes; people
// count characters.
#pragma once

#include "config/diagnostic.hpp"
#include "config/document.hpp"

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace kmodguard::config {

/// Bytes that can begin or end a token: "[]{},:!?&*" and quotes. A megabyte of them is no configuration.
inline constexpr std::size_t max_yaml_indicators = 1'000'000;

/// What keeps `text` from being given to the parser; its first such place.
[[nodiscard]] std::optional<Diagnostic> check_yaml_text(std::string_view text, const std::string& shown_name);

/// Positions in a checked text. Cheap as long as it is asked about places in their order.
class YamlPlaces {
  public:
    explicit YamlPlaces(std::string_view text);

    /// Of what stands `column` bytes into line `line`, both from 0.
    [[nodiscard]] Position at(std::size_t line, std::size_t column);

    /// The '-' of an entry without a value, given where the next token stands, which is all that the parser
    /// says of it.
    [[nodiscard]] Position of_empty_entry(std::size_t line, std::size_t column);

  private:
    void go_to(std::size_t line, std::size_t column);

    std::string_view text_;
    std::size_t line_ = 0;       ///< from 0
    std::size_t line_begin_ = 0; ///< its first byte, behind a byte order mark
    std::size_t bytes_ = 0;      ///< of the line, up to the place last asked for
    std::size_t characters_ = 0; ///< in these bytes
};

} // namespace kmodguard::config
