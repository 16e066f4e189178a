// SPDX-License-Identifier: AGPL-3.0-only
//
// Compressed images: gzip, xz and zstd, as `make modules_install` writes them. A kernel that decompresses
// modules itself reads one stream and ignores what follows; other readers go on and append what comes next.
// Two readings of one file are one too many, so a file must be one stream from its first byte to its last.
// What is inside is bounded, for ten bytes can decompress to ten gigabytes.
#pragma once

#include "modules/decoder.hpp"
#include "modules/image_container.hpp"
#include "modules/image_source.hpp"
#include "sys/result.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace kmodguard::modules {

/// Bytes of the largest image looked at; the largest of Debian's is 30 MiB, with debug information some 400
/// MiB.
inline constexpr std::uint64_t default_image_limit = 512ULL << 20U;

/// The uncompressed image in `source`; a copy of it if it is raw. Fails with `invalid` if the content exceeds
/// `limit` bytes, or if the stream is damaged by its own checksums, cut short, empty, followed by anything,
/// or wants more memory than max_window_mib (decoder.hpp); otherwise with the source's error.
///
/// The compressed bytes are read piece by piece. Peak memory is the decoder's window and the content, or
/// twice the content where that is more than eight times as large as the compressed bytes.
[[nodiscard]] sys::Result<std::vector<std::byte>> decompress(ByteSource& source,
                                                             std::uint64_t limit = default_image_limit);

/// The same of bytes in memory.
[[nodiscard]] sys::Result<std::vector<std::byte>> decompress(std::span<const std::byte> compressed,
                                                             std::uint64_t limit = default_image_limit);

/// The stream that `compressed` begins with, whatever follows it, as in a kernel that carries itself
/// compressed. `decoder` is a new one, and `what` it decodes is named in errors. Otherwise as above.
[[nodiscard]] sys::Result<std::vector<std::byte>>
decompress_stream(Decoder& decoder, std::span<const std::byte> compressed, std::string_view what,
                  std::uint64_t limit = default_image_limit);

} // namespace kmodguard::modules
