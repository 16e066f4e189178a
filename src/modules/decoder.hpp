// SPDX-License-Identifier: AGPL-3.0-only
//
// The decoders of the three codecs behind one face: zlib, liblzma and libzstd, which libkmod has loaded
// anyway. Each has to read one stream and no second, to verify what checksums there are, and how much
// memory it may ask for: what a stream says of itself is written by the one who wants it read.
#pragma once

#include "modules/image_container.hpp"
#include "sys/result.hpp"

#include <cstddef>
#include <memory>
#include <span>

namespace kmodguard::modules {

/// Memory for the window of one decoder, in MiB; Debian's modules need 1 MiB, `xz -9` needs 64 MiB.
inline constexpr unsigned max_window_mib = 128;

/// Decodes one stream, of which it is handed one piece after the other.
class Decoder {
  public:
    struct Progress {
        std::size_t taken = 0; ///< bytes of the piece that are used up
        std::size_t given = 0; ///< bytes that are now in the room
        bool ended = false;    ///< the stream is complete; the decoder is of no use afterwards
    };

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

} // namespace kmodguard::modules
