// SPDX-License-Identifier: AGPL-3.0-only
//
// Where a kernel is linked to, if nothing in its tables says so. The file of a kernel that moves itself has
// zero where kallsyms_relative_base belongs, and newer kernels have no such base at all. But every kernel is
// full of pointers to its own functions and texts, as they are or as the addends of relocations. So each
// pointer votes for every base under which it points at the beginning of something: the votes for wrong ones
// scatter, those for the right one add up.
#pragma once

#include "symbols/kernel_bytes.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace kmodguard::symbols {

/// Offsets, the end not included.
struct ByteRange {
    std::uint64_t begin;
    std::uint64_t end;
};

/// Addresses, both included.
struct AddressRange {
    std::uint64_t lowest;
    std::uint64_t highest;
};

/// Where kernels lie: the upper half of all addresses, without the end that small negative numbers are.
[[nodiscard]] AddressRange kernel_addresses(WordSize word_size);

/// The words of `bytes` within `where` that are addresses of `range`, ascending and each once: 32768 of them
/// at most, evenly chosen.
[[nodiscard]] std::vector<std::uint64_t> gather_pointers(const KernelBytes& bytes, WordSize word_size,
                                                         ByteRange where, AddressRange range);

/// Where texts begin within `where`, as offsets, ascending: eight printable characters or more, and NUL.
/// 50,000 of them at most, evenly chosen.
[[nodiscard]] std::vector<std::uint64_t> gather_texts(std::span<const std::byte> bytes, ByteRange where);

/// The base that most pointers vote for, if it is clear which: twice as many as for any other. `distances`
/// are those of the things from it, and it is a multiple of `alignment`, at most some thousand bytes.
[[nodiscard]] std::optional<std::uint64_t> find_link_base(std::span<const std::uint64_t> pointers,
                                                          std::span<const std::uint64_t> distances,
                                                          std::uint64_t alignment);

} // namespace kmodguard::symbols
