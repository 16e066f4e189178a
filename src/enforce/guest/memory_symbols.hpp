// SPDX-License-Identifier: AGPL-3.0-only
//
// Symbols for a guest of which none were given: its kernel, once it runs, has them in its memory. QEMU is
// asked to write that memory to a file, for through the debugger's stub it would take minutes.
#pragma once

#include "gdb/client.hpp"
#include "symbols/symbols.hpp"
#include "sys/result.hpp"

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace kmodguard::guest {

/// A piece of the machine's memory.
struct MemoryRange {
    std::uint64_t begin = 0;
    std::uint64_t size = 0; ///< bytes

    bool operator==(const MemoryRange&) const = default;
};

/// Most bytes of a guest's memory that are looked at, from its lowest address on: kernels are put there.
inline constexpr std::uint64_t max_memory = 512ULL << 20U;

/// The machine's memory as QEMU's monitor lists it (`info mtree -f`), each piece once, max_memory in all.
[[nodiscard]] std::vector<MemoryRange> memory_ranges(std::string_view listing);

/// The symbols of the kernel that a halted machine has in its memory, at the addresses at which it runs;
/// nullopt: there is none, or not yet. QEMU must be allowed to write to a new folder in the directory for
/// temporary files.
[[nodiscard]] sys::Result<std::optional<symbols::Symbols>> symbols_in_memory(gdb::Client& debugger);

} // namespace kmodguard::guest
