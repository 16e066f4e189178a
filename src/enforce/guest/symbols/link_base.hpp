// SPDX-License-Identifier: AGPL-3.0-only
//
// Where a kernel is linked to, if nothing in its tables says so. The file of a kernel that moves itself has
// zero where kallsyms_relative_base belongs, and newer kernels have no such base at all. But every kernel is
// full of pointers to its own functions, as they are or as the addends of relocations; and under the right
// base, and no other, most of them are exactly symbols' addresses.
#pragma once

#include "enforce/guest/symbols/kernel_bytes.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace kmodguard::guest {

/// The base that makes the most pointers in `bytes` symbols, if it is clear which does. `distances` are the
/// symbols' from the base, ascending and each once; the base is a multiple of `alignment`. Looks at some
/// thousand words within 64 MiB of `around`, whatever the size of `bytes`.
[[nodiscard]] std::optional<std::uint64_t> find_link_base(const KernelBytes& bytes, WordSize word_size,
                                                          std::size_t around,
                                                          std::span<const std::uint64_t> distances,
                                                          std::uint64_t alignment);

} // namespace kmodguard::guest
