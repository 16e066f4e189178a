// SPDX-License-Identifier: AGPL-3.0-only
//
// The compressed names of all symbols, and what is around them: kallsyms_num_syms, kallsyms_names,
// kallsyms_markers, in this order in every version. A marker says where each 256th name begins. So the
// markers are the second to be found: numbers that ascend from zero, a little before the tokens. Between the
// two is padding only, except in 6.2 and 6.3, which have the order of the names there
// (kallsyms_seqs_of_names).
#include "symbols/kallsyms.hpp"

#include <algorithm>
#include <array>

namespace kmodguard::symbols {
namespace {

constexpr std::uint32_t block = 256; ///< names a marker
/// Compressed bytes: a length and one token, for type and first character.
constexpr std::uint64_t min_compressed_name = 2;
/// Compressed bytes: KSYM_NAME_LEN and the two of its length.
constexpr std::uint64_t max_compressed_name = 514;
constexpr std::uint64_t max_symbols = SymbolsBuilder::max_symbols;
constexpr std::size_t fewest_markers = 3;
constexpr std::size_t max_padding = 256;

/// How many bytes of kallsyms_seqs_of_names can be between the markers and the tokens.
constexpr std::size_t max_distance = max_symbols * 4;

/// Candidates for the markers.
struct Markers {
    std::size_t at = 0; ///< offset
    std::size_t width = 4;
    std::vector<std::uint32_t> values;
};

/// The length of the compressed name at `at`, and behind its length; nothing if it reaches beyond `end`.
struct CompressedName {
    std::size_t begin;
    std::size_t size;
};
std::optional<CompressedName> compressed_name(const KernelBytes& bytes, std::size_t at, std::size_t end) {
    if (at >= end) return std::nullopt;
    std::size_t size = bytes.read<std::uint8_t>(at++);
    if ((size & 0x80U) != 0) {
        if (at >= end) return std::nullopt;
        size = (size & 0x7FU) | static_cast<std::size_t>(bytes.read<std::uint8_t>(at++)) << 7U;
    }
    if (size == 0 || size > end - at) return std::nullopt;
    return CompressedName{at, size};
}

/// Behind `count` names from `at` on, if they end at or before `end`.
std::optional<std::size_t> skip_names(const KernelBytes& bytes, std::size_t at, std::uint32_t count,
                                      std::size_t end) {
    for (; count != 0; --count) {
        const auto name = compressed_name(bytes, at, end);
        if (!name) return std::nullopt;
        at = name->begin + name->size;
    }
    return at;
}

bool follows(std::uint64_t marker, std::uint64_t next) {
    return next >= marker + block * min_compressed_name && next <= marker + block * max_compressed_name;
}

/// The numbers at `at` that ascend as markers do, from zero; empty if fewer than fewest_markers do.
Markers read_markers(const KernelBytes& bytes, std::size_t at, std::size_t width, std::size_t end) {
    Markers markers{at, width, {}};
    const auto size = width == 8 ? WordSize::bits_64 : WordSize::bits_32;
    std::uint64_t last = 0;
    for (; width <= end - at; at += width) {
        const auto value = bytes.word(at, size);
        if (value > UINT32_MAX || (markers.values.empty() ? value != 0 : !follows(last, value))) break;
        markers.values.push_back(static_cast<std::uint32_t>(value));
        last = value;
        if (markers.values.size() > max_symbols / block) break;
    }
    if (markers.values.size() < fewest_markers) markers.values.clear();
    return markers;
}

/// One way for the count to be before the names.
struct CountForm {
    std::size_t alignment; ///< of both
    bool is_long;          ///< a 64-bit number
    WordSize word_size;
};

/// A long count goes with markers of the same width.
constexpr std::array count_forms{
    CountForm{4, false, WordSize::bits_32},  CountForm{8, false, WordSize::bits_64},
    CountForm{16, false, WordSize::bits_32}, CountForm{256, false, WordSize::bits_64},
    CountForm{8, true, WordSize::bits_64},   CountForm{256, true, WordSize::bits_64}};

/// The names that begin at `begin`, if a count of this form is before them that `markers` can have.
std::optional<NameTable> counted(const KernelBytes& bytes, const Markers& markers, std::size_t begin,
                                 const CountForm& form) {
    if (form.is_long != (markers.width == 8)) return std::nullopt;
    if (begin % form.alignment != 0 || begin < form.alignment) return std::nullopt;
    const auto at = begin - form.alignment;
    const auto count = form.is_long ? bytes.read<std::uint64_t>(at) : bytes.read<std::uint32_t>(at);
    const auto blocks = markers.values.size();
    if (count <= (blocks - 1) * block || count > blocks * block) return std::nullopt;
    if (!bytes.is_padding(at + (form.is_long ? 8 : 4), begin)) return std::nullopt;
    return NameTable{at, begin, static_cast<std::uint32_t>(count), form.alignment, form.word_size};
}

/// Whether the names end right before the markers, and are where each of them says.
bool agrees(const KernelBytes& bytes, const Markers& markers, const NameTable& table, SearchBudget& budget) {
    const auto last_count = (table.count - 1) % block + 1;
    const auto end = budget.spend(last_count)
                         ? skip_names(bytes, table.begin + markers.values.back(), last_count, markers.at)
                         : std::nullopt;
    if (!end || markers.at - *end >= max_padding || !bytes.is_padding(*end, markers.at)) return false;
    for (std::size_t i = 0; i + 1 < markers.values.size(); ++i) {
        const auto next = table.begin + markers.values[i + 1];
        if (!budget.spend(block) || skip_names(bytes, table.begin + markers.values[i], block, next) != next)
            return false;
    }
    return true;
}

/// The names before `markers`: where they end is known, and how long all but the last block of them are.
std::optional<NameTable> names_before(const KernelBytes& bytes, const Markers& markers,
                                      SearchBudget& budget) {
    const std::uint64_t known = markers.values.back();
    if (known + min_compressed_name > markers.at) return std::nullopt;
    const auto last = (markers.at - known - min_compressed_name) & ~std::uint64_t{3};
    const auto reach = max_padding + block * max_compressed_name;
    const auto first = last > reach ? last - reach : 0;
    for (auto begin = last;; begin -= 4) {
        if (!budget.spend(1)) return std::nullopt;
        for (const auto& form : count_forms) {
            const auto table = counted(bytes, markers, begin, form);
            if (table && agrees(bytes, markers, *table, budget)) return table;
        }
        if (begin < first + 4) return std::nullopt;
    }
}

} // namespace

std::optional<NameTable> find_name_table(const KernelBytes& bytes, const TokenTable& tokens,
                                         SearchBudget& budget) {
    const auto first = tokens.begin > max_distance ? tokens.begin - max_distance : 0;
    for (auto at = tokens.begin & ~std::size_t{3}; at >= first + 4;) {
        at -= 4;
        if (!budget.spend(1)) return std::nullopt;
        if (bytes.read<std::uint32_t>(at) != 0) continue;
        for (const std::size_t width : {4UZ, 8UZ}) {
            const auto markers = read_markers(bytes, at, width, tokens.begin);
            if (!budget.spend(markers.values.size())) return std::nullopt;
            if (markers.values.empty()) continue;
            if (const auto table = names_before(bytes, markers, budget)) return table;
        }
    }
    return std::nullopt;
}

sys::Result<std::vector<std::string>> read_names(const KernelBytes& bytes, const TokenTable& tokens,
                                                 const NameTable& table) {
    constexpr std::size_t max_total = 256U << 20U;
    std::vector<std::string> names(table.count);
    std::size_t total = 0;
    auto at = table.begin;
    for (auto& name : names) {
        const auto compressed = compressed_name(bytes, at, bytes.size());
        for (std::size_t i = 0; compressed && i < compressed->size && name.size() <= SymbolsBuilder::max_name;
             ++i)
            name += tokens.tokens[bytes.read<std::uint8_t>(compressed->begin + i)];
        if (!compressed || name.size() > SymbolsBuilder::max_name)
            return sys::failure(sys::ErrorKind::invalid, "a name in its tables is longer than any kernel's");
        total += name.size();
        if (total > max_total)
            return sys::failure(sys::ErrorKind::invalid, "the names in its tables are too long");
        at = compressed->begin + compressed->size;
    }
    return names;
}

} // namespace kmodguard::symbols
