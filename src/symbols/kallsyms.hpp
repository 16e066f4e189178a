// SPDX-License-Identifier: AGPL-3.0-only
//
// The tables in which a kernel has its own symbols (CONFIG_KALLSYMS): tokens, names, addresses. Nothing
// points at them from outside; they are found by what they look like, in this order, each by the one before.
// The files of the three say how. What the addresses are counted from is the last thing to be found.
#pragma once

#include "symbols/kernel_bytes.hpp"
#include "sys/result.hpp"

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

/// All names in their order, each with its type character before it. Fails, with the bare reason, if they are
/// longer than any kernel's.
[[nodiscard]] sys::Result<std::vector<std::string>>
read_names(const KernelBytes& bytes, const TokenTable& tokens, const NameTable& table);

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

/// The tables of one kernel, and its names decompressed.
struct KallsymsTables {
    NameTable names;
    AddressTable addresses;
    std::vector<std::string> texts; ///< by symbol: the type character and the name
};

/// What a file says of itself, if it is an ELF file; otherwise nothing.
struct FileLayout {
    AddressMap map;
    std::optional<WordSize> word_size;
};

[[nodiscard]] FileLayout layout_of(std::span<const std::byte> kernel);

struct KernelLocation {
    WordSize word_size = WordSize::bits_64;
    std::uint64_t base = 0; ///< what AddressTable::values are counted from
};

/// What the addresses are counted from; nothing if that is not known.
[[nodiscard]] std::optional<KernelLocation>
locate_kernel(const KernelBytes& bytes, const KallsymsTables& tables, const FileLayout& layout);

/// The address of a symbol by its index in the tables.
[[nodiscard]] std::uint64_t address_of(const KallsymsTables& tables, const KernelLocation& location,
                                       std::size_t index);

/// Where the bytes of a flat image, or of a dump, lie, as far as the kernel goes; empty if that is not known.
[[nodiscard]] AddressMap map_of_flat_image(const KernelBytes& bytes, const KallsymsTables& tables,
                                           const KernelLocation& location);

} // namespace kmodguard::symbols
