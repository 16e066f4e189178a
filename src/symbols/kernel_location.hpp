// SPDX-License-Identifier: AGPL-3.0-only
//
// Where the kernel of a set of tables lies: what its addresses are counted from, and which of its bytes is
// where. Some tables have it, an ELF file's segments have it; for the rest it is found by the pointers that
// the kernel has to itself.
#pragma once

#include "symbols/kallsyms.hpp"

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace kmodguard::symbols {

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
