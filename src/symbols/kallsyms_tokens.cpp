// SPDX-License-Identifier: AGPL-3.0-only
//
// The first of a kernel's kallsyms tables to be found, since it looks the same in all versions since 2.6.10.
// Symbols' names are compressed with 256 tokens, one for each byte: kallsyms_token_table has their texts,
// NUL-terminated, and kallsyms_token_index where each begins, as 16-bit numbers. A character that occurs in
// names is a token of its own, at its own code; so the digits are in a row, and that is what is searched
// for.
#include "symbols/kallsyms.hpp"

#include <algorithm>

namespace kmodguard::symbols {
namespace {

using namespace std::string_view_literals;

constexpr auto digits = "0\0001\0002\0003\0004\0005\0006\0007\0008\0009\0"sv;
constexpr std::size_t codes = 256;
constexpr std::size_t first_digit = '0';
constexpr std::size_t index_size = codes * sizeof(std::uint16_t);
constexpr std::size_t max_texts = 1U << 16U;   ///< what a 16-bit index reaches
constexpr int max_tries = 65536;               ///< rows of digits looked at; a kernel has two or three
constexpr std::size_t max_token_padding = 256; ///< `.align 8`, which some assemblers take for 2^8

bool is_token_character(char c) {
    return c > ' ' && c <= '~';
}

/// The tokens from the digits on.
struct Upper {
    std::array<std::string_view, codes> tokens; ///< those below first_digit are empty
    std::size_t end = 0;                        ///< offset behind the last
};

std::optional<Upper> read_upper(std::span<const std::byte> bytes, std::size_t at) {
    const auto text = as_text(bytes.subspan(at, std::min(bytes.size() - at, max_texts)));
    Upper upper;
    std::size_t begin = 0;
    for (std::size_t code = first_digit; code < codes; ++code) {
        const auto end = text.find('\0', begin);
        if (end == std::string_view::npos) return std::nullopt;
        upper.tokens[code] = text.substr(begin, end - begin);
        if (!std::ranges::all_of(upper.tokens[code], is_token_character)) return std::nullopt;
        begin = end + 1;
    }
    upper.end = at + begin;
    return upper;
}

/// Whether the index at `at` agrees with the tokens from the digits on.
bool is_index(const KernelBytes& bytes, std::size_t at, const Upper& upper) {
    std::size_t expected = bytes.read<std::uint16_t>(at + 2 * first_digit);
    if (bytes.read<std::uint16_t>(at) != 0) return false;
    for (std::size_t code = first_digit; code < codes; ++code) {
        if (bytes.read<std::uint16_t>(at + 2 * code) != expected) return false;
        expected += upper.tokens[code].size() + 1;
    }
    return true;
}

/// The tokens below the digits, which begin where the index at `at` says.
bool read_lower(const KernelBytes& bytes, std::size_t at, TokenTable& table) {
    std::size_t begin = 0;
    for (std::size_t code = 0; code < first_digit; ++code) {
        const std::size_t end = bytes.read<std::uint16_t>(at + 2 * (code + 1));
        if (end <= begin || end > table.digits - table.begin) return false;
        const auto text = as_text(bytes.all().subspan(table.begin + begin, end - begin));
        table.tokens[code] = text.substr(0, text.size() - 1);
        if (text.back() != '\0' || !std::ranges::all_of(table.tokens[code], is_token_character)) return false;
        begin = end;
    }
    return true;
}

std::optional<TokenTable> read_table(const KernelBytes& bytes, std::size_t digits_at, const Upper& upper) {
    const auto last = upper.end + max_token_padding;
    for (auto at = aligned(upper.end, 4); at <= last && bytes.has(at, index_size); at += 4) {
        if (!bytes.is_padding(at < upper.end + 4 ? upper.end : at - 4, at)) return std::nullopt;
        if (!is_index(bytes, at, upper)) continue;
        const std::size_t before = bytes.read<std::uint16_t>(at + 2 * first_digit);
        if (before > digits_at) return std::nullopt;
        TokenTable table{.begin = digits_at - before,
                         .end = at + index_size,
                         .digits = digits_at,
                         .order = bytes.order(),
                         .tokens = upper.tokens};
        if (!read_lower(bytes, at, table)) return std::nullopt;
        return table;
    }
    return std::nullopt;
}

} // namespace

std::optional<TokenTable> find_token_table(std::span<const std::byte> bytes, std::size_t from) {
    for (int tries = 0; tries < max_tries; ++tries) {
        const auto at = find_bytes(bytes, digits, from);
        if (!at) break;
        from = *at + 1;
        const auto upper = read_upper(bytes, *at);
        if (!upper) continue;
        for (const auto order : {std::endian::little, std::endian::big}) {
            if (auto table = read_table(KernelBytes(bytes, order), *at, *upper)) return table;
        }
    }
    return std::nullopt;
}

} // namespace kmodguard::symbols
