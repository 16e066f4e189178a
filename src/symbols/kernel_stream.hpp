// SPDX-License-Identifier: AGPL-3.0-only
//
// The compressed streams that kernel images carry. More kinds than modules have, and each followed by
// something: a size, padding, a device tree.
#pragma once

#include "sys/result.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace kmodguard::symbols {

/// The kinds of scripts/Makefile.lib; bzip2 and LZO are known by name only.
enum class Codec : std::uint8_t { gzip, xz, lzma, zstd, lz4, bzip2, lzo };

[[nodiscard]] std::string_view
to_string(Codec codec); ///< "gzip", "xz", "LZMA", "zstd", "LZ4", "bzip2", "LZO"

/// By the first bytes; of LZMA, which has no magic number, by a header as kernels have it.
[[nodiscard]] std::optional<Codec> codec_of(std::span<const std::byte> beginning);

/// Where the next stream may begin, at `from` or later.
struct StreamStart {
    std::size_t offset;
    Codec codec;
};
[[nodiscard]] std::optional<StreamStart> find_stream(std::span<const std::byte> bytes, std::size_t from);

/// What the stream at the beginning of `compressed` decompresses to; what follows the stream does not matter.
/// Fails with `invalid` if it is damaged or cut off, decompresses to more than `limit` bytes, or is of a
/// codec that is not supported. LZ4 is the legacy frame format, whose end is not marked: its content is what
/// decodes.
[[nodiscard]] sys::Result<std::vector<std::byte>>
decompress_stream(Codec codec, std::span<const std::byte> compressed, std::uint64_t limit);

} // namespace kmodguard::symbols
