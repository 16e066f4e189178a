// SPDX-License-Identifier: AGPL-3.0-only
//
// The symbols of a kernel that comes without any: it has them itself, for its own error messages
// (CONFIG_KALLSYMS), in tables that nothing points at from outside. They are found by what they look like,
// step by step: tokens, names, addresses; each step is certain enough to build on. A kernel in a file and one
// in memory look the same, so a dump of a guest's memory serves as well.
#pragma once

#include "symbols/symbols.hpp"
#include "sys/result.hpp"

#include <cstddef>
#include <span>

namespace kmodguard::symbols {

/// The symbols of the kernel in `kernel`: its flat bytes, an ELF file, or the guest's physical memory.
/// Kernels 2.6.10 to 7.2, 32 and 64 bit, both byte orders. In a file they are where the kernel is linked to;
/// in memory, where it runs. Fails with `invalid` if there are no tables, they are damaged, or what they
/// yield is no kernel's symbols (fewer than 1000, not ascending, without the names that all kernels have),
/// and says which.
///
/// Symbols::banner() has no address if the kernel lists functions only (no CONFIG_KALLSYMS_ALL) and where its
/// bytes lie in memory is not known either: in a dump.
[[nodiscard]] sys::Result<Symbols> recover_symbols(std::span<const std::byte> kernel);

} // namespace kmodguard::symbols
