// SPDX-License-Identifier: AGPL-3.0-only
//
// Whole numbers in texts of the kernel, of other programs and of people.
#pragma once

#include <charconv>
#include <concepts>
#include <optional>
#include <string_view>

namespace kmodguard::sys {

/// The number that all of `text` is, in `base`; nullopt: it is none, or too large for `Number`.
template <std::integral Number>
[[nodiscard]] std::optional<Number> number_in(std::string_view text, int base = 10) {
    Number number{};
    const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), number, base);
    const bool is_whole = rest == text.data() + text.size();
    return error == std::errc{} && is_whole ? std::optional(number) : std::nullopt;
}

} // namespace kmodguard::sys
