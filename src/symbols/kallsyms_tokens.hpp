// SPDX-License-Identifier: AGPL-3.0-only
//
// The first of a kernel's kallsyms tables to be found, since it looks the same in all versions since 2.6.10.
// Symbols' names are compressed with 256 tokens, one for each byte: kallsyms_token_table has their texts,
// NUL-terminated, and kallsyms_token_index where each begins, as 16-bit numbers. A character that occurs in
// names is a token of its own, at its own code; so the digits are in a row, and that is what is searched
// for.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <optional>
#include <span>
#include <string_view>

namespace kmodguard::symbols {

struct TokenTable {
    std::size_t begin = 0;  ///< offset of the texts
    std::size_t end = 0;    ///< offset behind the index
    std::size_t digits = 0; ///< offset of the text "0", by which it was found
    std::endian order = std::endian::little;
    std::array<std::string_view, 256> tokens; ///< in the bytes that were searched
};

/// The next token table whose digits are at `from` or later. Each is checked whole, so what is found is one,
/// be it of a kernel that runs or of one that lies about in memory. Source: write_src of
/// scripts/kallsyms.c, 2.6.10 to 7.2.
[[nodiscard]] std::optional<TokenTable> find_token_table(std::span<const std::byte> bytes, std::size_t from);

} // namespace kmodguard::symbols
