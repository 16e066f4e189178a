// SPDX-License-Identifier: AGPL-3.0-only
//
// Compressed images: gzip, xz and zstd, as `make modules_install` writes them, and nothing else that
// libarchive could read. What is inside is bounded, for ten bytes can unpack to ten gigabytes.
#pragma once

#include "modules/image_container.hpp"
#include "modules/image_source.hpp"
#include "sys/result.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace kmodguard::modules {

/// Bytes of the largest image looked at; the largest of Debian's is 30 MiB, with debug information some 400
/// MiB.
inline constexpr std::uint64_t default_image_limit = 512ULL << 20U;

/// The uncompressed image in `source`; a copy of it if it is raw. Fails with `invalid` if the content exceeds
/// `limit` bytes, or if the stream is damaged, cut short, empty or followed by anything, a second stream
/// included; otherwise with the source's error. Peak memory is twice the content, plus the window that the
/// stream asks for (zstd 128 MiB at most, xz 1 GiB at most), of which no more is touched than there is
/// content.
///
/// libarchive does not verify gzip's checksum, and the kernel does not either: what comes out is what counts.
/// A gzip member without content in front of the real one is passed over, where a kernel finds no image.
[[nodiscard]] sys::Result<std::vector<std::byte>> decompress(ByteSource& source,
                                                             std::uint64_t limit = default_image_limit);

/// The same of bytes in memory.
[[nodiscard]] sys::Result<std::vector<std::byte>> decompress(std::span<const std::byte> packed,
                                                             std::uint64_t limit = default_image_limit);

} // namespace kmodguard::modules
