// SPDX-License-Identifier: AGPL-3.0-only
//
// Compressed images: gzip, xz and zstd, as `make modules_install` writes them. A kernel that decompresses
// modules itself reads one stream and ignores what follows; other readers go on and append what comes next.
// Two readings of one file are one too many, so a file must be one stream from its first byte to its last.
// What is inside is bounded, for ten bytes can decompress to ten gigabytes; and so is the memory that a
// decoder may ask for, since what a stream says of itself is written by the one who wants it read.
#pragma once

#include "modules/image_source.hpp"
#include "sys/result.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

namespace kmodguard::modules {

enum class Container { raw, gzip, xz, zstd };

[[nodiscard]] std::string_view to_string(Container container); ///< "raw", "gzip", "xz", "zstd"

/// What an image file is compressed in, found as the kernel and libkmod do: by its magic number. A file's
/// name says nothing, for the one who wrote the file chose it. Anything unknown, too short or empty is raw.
[[nodiscard]] Container container_of(std::span<const std::byte> beginning);
/// The same, of a source's first bytes; fails only if they cannot be read.
[[nodiscard]] sys::Result<Container> container_of(ByteSource& source);

/// Bytes of the largest image looked at; the largest of Debian's is 30 MiB, with debug information some 400
/// MiB.
inline constexpr std::uint64_t default_image_limit = 512ULL << 20U;
/// Memory for the window of one decoder, in MiB; Debian's modules need 1 MiB, `xz -9` needs 64 MiB.
inline constexpr unsigned max_window_mib = 128;

/// The uncompressed image in `source`; a copy of it if it is raw. Fails with `invalid` if the content exceeds
/// `limit` bytes, or if the stream is damaged by its own checksums, cut short, empty, followed by anything,
/// or wants more memory than max_window_mib; otherwise with the source's error.
///
/// The compressed bytes are read piece by piece. Peak memory is the decoder's window and the content, or
/// twice the content where that is more than eight times as large as the compressed bytes.
[[nodiscard]] sys::Result<std::vector<std::byte>> decompress(ByteSource& source,
                                                             std::uint64_t limit = default_image_limit);
/// The same of bytes in memory.
[[nodiscard]] sys::Result<std::vector<std::byte>> decompress(std::span<const std::byte> compressed,
                                                             std::uint64_t limit = default_image_limit);

/// Decodes one stream, of which it is handed one piece after the other, and verifies what checksums there
/// are.
class Decoder {
  public:
    struct Progress {
        std::size_t taken = 0; ///< bytes of the piece that are used up
        std::size_t given = 0; ///< bytes that are now in the room
        bool ended = false;    ///< the stream is complete; the decoder is of no use afterwards
    };

    Decoder() = default;
    Decoder(const Decoder&) = delete;
    Decoder& operator=(const Decoder&) = delete;
    virtual ~Decoder() = default;

    /// Uses up `compressed` as far as the content fits into `room`, which must not be empty. Neither taking
    /// nor giving anything means that there must be more to take. Fails with `invalid` and the bare reason if
    /// the stream is damaged or wants too much memory, with `failed` if there is not enough memory.
    [[nodiscard]] virtual sys::Result<Progress> step(std::span<const std::byte> compressed,
                                                     std::span<std::byte> room) = 0;
};

/// A decoder for one stream of `container`, which must not be raw, that takes no more than some `window_mib`
/// MiB of memory (gzip: 32 KiB in any case).
[[nodiscard]] sys::Result<std::unique_ptr<Decoder>> make_decoder(Container container,
                                                                 unsigned window_mib = max_window_mib);
/// A decoder for one stream of LZMA's older format (.lzma), in which kernels are compressed and modules are
/// not. Its end is where its header says, or a marker; it has no checksum.
[[nodiscard]] sys::Result<std::unique_ptr<Decoder>> make_lzma_decoder(unsigned window_mib = max_window_mib);

/// The stream that `compressed` begins with, whatever follows it, as in a kernel that carries itself
/// compressed. `decoder` is a new one, and `what` it decodes is named in errors. Otherwise as above.
[[nodiscard]] sys::Result<std::vector<std::byte>>
decompress_stream(Decoder& decoder, std::span<const std::byte> compressed, std::string_view what,
                  std::uint64_t limit = default_image_limit);

} // namespace kmodguard::modules
