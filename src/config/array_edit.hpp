// SPDX-License-Identifier: AGPL-3.0-only
//
// One array of strings in the text of a TOML file, changed as its author would have changed it: what is taken
// out goes with its comma, and with its line if that held nothing else; what is put in looks like its
// neighbours. Everything else stays byte for byte. Both functions leave the text alone if it is not
// understood.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace kmodguard::config {

/// Takes element `number` out of the array whose '[' is at `array`.
[[nodiscard]] bool remove_element(std::string& text, std::size_t array, std::size_t number);

/// Puts `entries` at the end of the array whose '[' is at `array`: in an array over several lines one on
/// each, directly before the closing bracket's line.
[[nodiscard]] bool add_elements(std::string& text, std::size_t array, std::span<const std::string> entries);

/// `entry` as a TOML string: in single quotes if `literal` and possible, otherwise in double quotes.
[[nodiscard]] std::string toml_string(std::string_view entry, bool literal = false);

} // namespace kmodguard::config
