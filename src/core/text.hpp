// SPDX-License-Identifier: AGPL-3.0-only
//
// Bytes as text: UTF-8 and hexadecimal digits, for names, policies and records alike.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace kmodguard::core {

struct Character {
    char32_t code = 0;
    std::size_t length = 0; ///< in bytes; 0: the bytes are not UTF-8
};

/// The character at the start of `text`; of length 0 if that is empty, or no valid UTF-8 (Unicode 15, table
/// 3-7: no overlong forms, no surrogates, nothing over U+10FFFF).
[[nodiscard]] Character first_character(std::string_view text);

/// Two lower-case digits a byte.
[[nodiscard]] std::string to_hex(std::span<const std::uint8_t> bytes);

} // namespace kmodguard::core
