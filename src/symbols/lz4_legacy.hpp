// SPDX-License-Identifier: AGPL-3.0-only
//
// LZ4 as `lz4 -l` writes it, in which many x86 and ARM kernels are packed. The format is so small that it is
// decoded here; a library would be a dependency for these few lines.
#pragma once

#include "sys/result.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace kmodguard::symbols {

/// What the blocks after the magic number unpack to. The format marks no end: it is the end of `packed`, or a
/// size that no block can have, or less than a size (kernels append four bytes of their own). Fails with
/// `invalid` if a block is damaged or reaches beyond the end, nothing is packed, or the content exceeds
/// `limit` bytes. Source: "Legacy frame" of lz4_Frame_format.md and lz4_Block_format.md;
/// lib/decompress_unlz4.c.
[[nodiscard]] sys::Result<std::vector<std::byte>> unpack_lz4_legacy(std::span<const std::byte> packed,
                                                                    std::uint64_t limit);

} // namespace kmodguard::symbols
