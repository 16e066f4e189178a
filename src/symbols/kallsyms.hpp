// SPDX-License-Identifier: AGPL-3.0-only
//
// The tables in which a kernel has its own symbols (CONFIG_KALLSYMS): tokens, names, addresses. Nothing
// points at them from outside; they are found by what they look like, in this order, each by the one before.
// The files of the three say how.
#pragma once

#include "symbols/kernel_bytes.hpp"

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

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

/// What a search may still cost. Each step is some nanoseconds; an honest kernel needs a few million of them.
class SearchBudget {
  public:
    explicit SearchBudget(std::uint64_t steps) : steps_(steps) {}
    [[nodiscard]] bool spend(std::uint64_t steps) {
        const bool enough = steps <= steps_;
        steps_ -= enough ? steps : steps_;
        return enough;
    }

  private:
    std::uint64_t steps_;
};

struct NameTable {
    std::size_t count_at = 0; ///< offset of kallsyms_num_syms
    std::size_t begin = 0;    ///< offset of kallsyms_names
    std::uint32_t count = 0;
    std::size_t alignment = 0; ///< of all kallsyms tables: 4 or 16 if words have 32 bits, else 8 or 256
    WordSize word_size = WordSize::bits_64;
};

/// The names that go with `tokens`; nothing if there are none, or the budget does not last. What is found
/// agrees with all of its markers. Source: write_src of scripts/kallsyms.c, 2.6.10 to 7.2: before 4.20 the
/// count and the markers are words of the kernel, since then 32-bit numbers; since 6.1 a length above 127 has
/// a second byte.
[[nodiscard]] std::optional<NameTable> find_name_table(const KernelBytes& bytes, const TokenTable& tokens,
                                                       SearchBudget& budget);

/// Reads one name after the other.
class NameReader {
  public:
    NameReader(const KernelBytes& bytes, const TokenTable& tokens, const NameTable& table)
        : bytes_(bytes), tokens_(tokens), at_(table.begin) {}

    /// The next name, with its type character before it, in `into`; false if it is longer than any kernel's.
    /// No more than NameTable::count are there.
    [[nodiscard]] bool next(std::string& into);

  private:
    const KernelBytes& bytes_;
    const TokenTable& tokens_;
    std::size_t at_;
};

enum class AddressForm : std::uint8_t { absolute, relative, relative_percpu, place_relative };

struct AddressTable {
    AddressForm form = AddressForm::absolute;
    std::size_t begin = 0; ///< offset
    /// Offset of kallsyms_relative_base, of the relative forms.
    std::size_t base_at = 0;

    /// By symbol, in the names' order: the address, or the distance from a base, modulo 2^64. The base is
    /// what kallsyms_relative_base should be, or of place_relative the address of the table's beginning.
    std::vector<std::uint64_t> values;
    /// By symbol: whether the value is no address whatever the base is. Empty if no symbol is so.
    std::vector<bool> is_fixed;
};

/// The addresses that go with `names`; nothing if no reading of what is there ascends.
/// Source: write_src of scripts/kallsyms.c and kallsyms_sym_address of kernel/kallsyms.c, 2.6.10 to 7.2.
[[nodiscard]] std::optional<AddressTable>
find_address_table(const KernelBytes& bytes, const TokenTable& tokens, const NameTable& names);

} // namespace kmodguard::symbols
