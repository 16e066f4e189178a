// SPDX-License-Identifier: AGPL-3.0-only
//
// What an image file is packed in. A kernel that decompresses modules itself reads one gzip member, xz stream
// or zstd frame and ignores what follows (kernel/module/decompress.c); libraries read on and append what
// comes next. Two readings of one file are one too many, so a file must be one stream from its first byte to
// its last, and that is checked here.
#pragma once

#include "modules/image_source.hpp"
#include "sys/result.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace kmodguard::modules {

enum class Container { raw, gzip, xz, zstd };

[[nodiscard]] std::string_view to_string(Container container); ///< "raw", "gzip", "xz", "zstd"

/// By the magic number, never by a file's name. Anything unknown, too short or empty is raw.
[[nodiscard]] Container container_of(std::span<const std::byte> beginning);

/// The same, of a source's first bytes; fails only if they cannot be read.
[[nodiscard]] sys::Result<Container> container_of(ByteSource& source);

/// Whether an xz or zstd source is exactly one stream by its own framing: `invalid` with the reason if it is
/// not. For raw and gzip, which have no such framing, nothing is checked. Content and checksums are not
/// looked at. Sources: The .xz File Format 1.1, sections 2.1 and 4; RFC 8878, section 3.1.1.
[[nodiscard]] sys::Result<void> check_single_stream(ByteSource& source, Container container);

/// The last four bytes of a gzip source: the size of its last member's content, modulo 2^32 (RFC 1952).
[[nodiscard]] sys::Result<std::uint32_t> gzip_content_size(ByteSource& source);

} // namespace kmodguard::modules
