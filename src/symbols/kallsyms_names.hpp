// SPDX-License-Identifier: AGPL-3.0-only
//
// The compressed names of all symbols, and what is around them: kallsyms_num_syms, kallsyms_names,
// kallsyms_markers, in this order in every version. A marker says where each 256th name begins. So the
// markers are the second to be found: numbers that ascend from zero, a little before the tokens. Between the
// two is padding only, except in 6.2 and 6.3, which have the order of the names there
// (kallsyms_seqs_of_names).
#pragma once

#include "symbols/kallsyms_tokens.hpp"
#include "symbols/kernel_bytes.hpp"
#include "sys/result.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace kmodguard::symbols {

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

} // namespace kmodguard::symbols
