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
    const char* const end = text.data() + text.size();
    const auto [rest, error] = std::from_chars(text.data(), end, number, base);
    return error == std::errc{} && rest == end ? std::optional(number) : std::nullopt;
}

} // namespace kmodguard::sys
