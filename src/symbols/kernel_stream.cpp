// SPDX-License-Identifier: AGPL-3.0-only
#include "symbols/kernel_stream.hpp"

#include "modules/decompress.hpp"
#include "symbols/kernel_bytes.hpp"

#include <fmt/format.h>
#include <lz4.h>

#include <algorithm>
#include <array>
#include <memory>
#include <new>
#include <utility>

namespace kmodguard::symbols {
namespace {

using namespace std::string_view_literals;

/// Kernels since 6.12 are compressed with a window of 128 MiB (scripts/xz_wrap.sh), to which the decoder adds
/// a little.
constexpr unsigned window_mib = 256;

struct Magic {
    std::string_view bytes;
    Codec codec;
};

/// As long as they can be: each false start costs an attempt.
constexpr std::array magics{
    Magic{"\x1F\x8B\x08"sv, Codec::gzip},
    Magic{"\xFD"
          "7zXZ\0"sv,
          Codec::xz},
    Magic{"\x28\xB5\x2F\xFD"sv, Codec::zstd},
    Magic{"\x02\x21\x4C\x18"sv, Codec::lz4},
    Magic{"BZh91AY&SY"sv, Codec::bzip2},
    Magic{"\x89LZO\0\x0D\x0A\x1A\x0A"sv, Codec::lzo},
    Magic{"\x5D\0\0"sv, Codec::lzma},
};

/// Properties lc=3 lp=0 pb=2, a dictionary of 64 KiB to 128 MiB, a size that is unknown or below 512 MiB, and
/// a first byte of 0, which the format demands.
bool is_lzma_header(std::span<const std::byte> bytes) {
    constexpr std::size_t header_size = 14;
    if (bytes.size() < header_size) return false;
    const KernelBytes header(bytes, std::endian::little);
    const auto dictionary = header.read<std::uint32_t>(1);
    const auto size = header.read<std::uint64_t>(5);
    return dictionary >= 1U << 16U && dictionary <= 1U << 27U && (dictionary & (dictionary - 1)) == 0
           && (size == UINT64_MAX || (size != 0 && size <= modules::default_image_limit))
           && bytes[header_size - 1] == std::byte{0};
}

sys::Result<std::unique_ptr<modules::Decoder>> decoder_of(Codec codec) {
    switch (codec) {
    case Codec::gzip: return modules::make_decoder(modules::Container::gzip);
    case Codec::xz: return modules::make_decoder(modules::Container::xz, window_mib);
    case Codec::zstd: return modules::make_decoder(modules::Container::zstd, window_mib);
    case Codec::lzma: return modules::make_lzma_decoder(window_mib);
    default:
        return sys::failure(sys::ErrorKind::invalid,
                            fmt::format("compressed with {}, which is not supported", to_string(codec)),
                            "decompress the kernel beforehand, or give its System.map");
    }
}

std::unexpected<sys::Error> damaged_lz4(std::string_view why) {
    return sys::failure(sys::ErrorKind::invalid, fmt::format("LZ4: {}", why));
}

/// LZ4 as `lz4 -l` writes it: the magic number, then blocks with their sizes before them ("Legacy frame" of
/// lz4_Frame_format.md; lib/decompress_unlz4.c). The format marks no end: it is the end of `compressed`, or a
/// size that no block can have, or less than a size (kernels append four bytes of their own).
sys::Result<std::vector<std::byte>> decompress_lz4_legacy(std::span<const std::byte> compressed,
                                                          std::uint64_t limit) {
    constexpr std::size_t word = 4;
    constexpr std::size_t block_size = 8U << 20U; // bytes that each block but the last decompresses to
    constexpr std::size_t max_compressed_block = LZ4_COMPRESSBOUND(block_size);
    const KernelBytes bytes(compressed, std::endian::little);
    std::vector<std::byte> content;
    for (std::size_t at = word; bytes.has(at, word);) {
        const auto size = bytes.read<std::uint32_t>(at);
        if (size == 0 || size > max_compressed_block || !bytes.has(at + word, size)) break;
        const auto begin = content.size();
        // No byte of a block is for more than 255 of its content; what is no frame then costs little.
        const std::size_t room = std::min(block_size, std::size_t{size} * 256 + 64);
        content.resize(begin + room);
        // NOLINTBEGIN(*-reinterpret-cast): octets are char to liblz4
        const int got = LZ4_decompress_safe(reinterpret_cast<const char*>(compressed.data() + at + word),
                                            reinterpret_cast<char*>(content.data() + begin),
                                            static_cast<int>(size), static_cast<int>(room));
        // NOLINTEND(*-reinterpret-cast)
        content.resize(begin + static_cast<std::size_t>(std::max(got, 0)));
        if (got < 0 && begin == 0) return damaged_lz4("damaged");
        if (content.size() > limit) return damaged_lz4(fmt::format("content exceeds {} bytes", limit));
        if (got != static_cast<int>(block_size)) break; // the last block, or what follows the frame
        at += word + size;
    }
    if (content.empty()) return damaged_lz4("cut off, or empty");
    return content;
}

} // namespace

std::string_view to_string(Codec codec) {
    switch (codec) {
    case Codec::gzip: return "gzip";
    case Codec::xz: return "xz";
    case Codec::lzma: return "LZMA";
    case Codec::zstd: return "zstd";
    case Codec::lz4: return "LZ4";
    case Codec::bzip2: return "bzip2";
    case Codec::lzo: return "LZO";
    }
    std::unreachable();
}

std::optional<Codec> codec_of(std::span<const std::byte> beginning) {
    const auto text = as_text(beginning);
    for (const auto& magic : magics) {
        if (text.starts_with(magic.bytes) && (magic.codec != Codec::lzma || is_lzma_header(beginning)))
            return magic.codec;
    }
    return std::nullopt;
}

std::optional<StreamStart> find_stream(std::span<const std::byte> bytes, std::size_t from) {
    std::optional<StreamStart> first;
    for (const auto& magic : magics) {
        auto at = find_bytes(bytes, magic.bytes, from);
        while (at && magic.codec == Codec::lzma && !is_lzma_header(bytes.subspan(*at)))
            at = find_bytes(bytes, magic.bytes, *at + 1);
        if (!at) continue;
        if (!first || *at < first->offset) first = StreamStart{*at, magic.codec};
        bytes = bytes.first(
            std::min(bytes.size(), *at + magic.bytes.size() + 16)); // only what is earlier matters
    }
    return first;
}

sys::Result<std::vector<std::byte>> decompress_stream(Codec codec, std::span<const std::byte> compressed,
                                                      std::uint64_t limit) {
    if (codec == Codec::lz4) {
        try {
            return decompress_lz4_legacy(compressed, limit);
        } catch (const std::bad_alloc&) {
            return sys::failure(sys::ErrorKind::failed, "not enough memory to decompress a kernel");
        }
    }
    const auto decoder = TRY(decoder_of(codec));
    return modules::decompress_stream(*decoder, compressed, to_string(codec), limit);
}

} // namespace kmodguard::symbols
