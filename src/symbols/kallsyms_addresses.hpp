// SPDX-License-Identifier: AGPL-3.0-only
//
// The symbols' addresses, the table that has changed most. It is before the count of the names, since 6.4
// behind the tokens, and has one number a symbol, ascending with the names' order:
//
//   absolute        the address, a word: before 4.6; since 7.0 again, where the kernel is a 32-bit one that
//   cannot
//                   be moved
//   relative        32 bits, the distance from kallsyms_relative_base, a word that follows: 4.6 to 6.19
//   relative_percpu the same on x86-64 up to 6.14, where per-CPU symbols are small numbers and no addresses:
//   a number
//                   from 0 up is one of these, one below is the distance from the base, negated and less 1
//   place_relative  32 bits, the distance from the number itself to the symbol: since 7.0
//
// Which it is, no flag says. But only one reading yields addresses that ascend.
#pragma once

#include "symbols/kallsyms_names.hpp"
#include "symbols/kallsyms_tokens.hpp"
#include "symbols/kernel_bytes.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace kmodguard::symbols {

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
