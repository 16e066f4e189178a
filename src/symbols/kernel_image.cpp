// SPDX-License-Identifier: AGPL-3.0-only
#include "symbols/kernel_image.hpp"

#include "modules/decompress.hpp"
#include "symbols/kallsyms.hpp"

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
using Bytes = std::span<const std::byte>;
using Decompressed = sys::Result<std::vector<std::byte>>;

constexpr int max_wrappers = 6;               ///< one in another
constexpr int max_streams = 12;               ///< tried in one scan
constexpr std::uint64_t max_work = 1U << 30U; ///< bytes decompressed in all
/// What an attempt counts that fails, after who knows how many bytes.
constexpr std::uint64_t failed_work = 64U << 20U;

// --- streams: more kinds than modules have, and each followed by something: a size, padding, a device tree

/// Kernels since 6.12 are compressed with a window of 128 MiB (scripts/xz_wrap.sh), to which the decoder adds
/// a little.
constexpr unsigned window_mib = 256;

struct CodecRow {
    Codec codec;
    std::string_view name;
    std::string_view magic; ///< as long as it can be: each false start costs an attempt
};

constexpr std::array codecs{
    CodecRow{Codec::gzip, "gzip", "\x1F\x8B\x08"sv},
    CodecRow{Codec::xz, "xz", "\xFD\x37zXZ\0"sv}, // "7" would be a digit of the byte before
    CodecRow{Codec::zstd, "zstd", "\x28\xB5\x2F\xFD"sv},
    CodecRow{Codec::lz4, "LZ4", "\x02\x21\x4C\x18"sv},
    CodecRow{Codec::bzip2, "bzip2", "BZh91AY&SY"sv},
    CodecRow{Codec::lzo, "LZO", "\x89LZO\0\x0D\x0A\x1A\x0A"sv},
    CodecRow{Codec::lzma, "LZMA", "\x5D\0\0"sv},
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
Decompressed decompress_lz4_legacy(Bytes compressed, std::uint64_t limit) {
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

// --- wrappers

/// What is inside of a wrapper: a part of its bytes, compressed or not.
struct Payload {
    Bytes bytes;
    std::string_view form;
};

bool has_text(Bytes bytes, std::size_t offset, std::string_view text) {
    return KernelBytes(bytes, std::endian::little).has(offset, text.size())
           && as_text(bytes.subspan(offset, text.size())) == text;
}

/// What a wrapper of that form has inside: `size` bytes at `offset`, or as many of them as there are, for
/// firmware images are cut off and padded.
std::optional<Payload> payload(std::string_view form, Bytes bytes, std::uint64_t offset, std::uint64_t size) {
    if (offset == 0 || offset >= bytes.size()) return std::nullopt;
    return Payload{bytes.subspan(offset, std::min<std::uint64_t>(size, bytes.size() - offset)), form};
}

/// U-Boot's legacy header: 64 bytes, big-endian, the size of what follows at 12.
std::optional<Payload> in_uimage(Bytes bytes) {
    constexpr std::size_t header_size = 64;
    const KernelBytes header(bytes, std::endian::big);
    if (!header.has(0, header_size) || header.read<std::uint32_t>(0) != 0x27051956) return std::nullopt;
    return payload("uImage", bytes, header_size, header.read<std::uint32_t>(12));
}

/// The setup header of protocol 2.08 and later says where behind the real-mode code the payload is.
std::optional<Payload> in_bzimage(Bytes bytes) {
    constexpr std::size_t sector = 512;
    const KernelBytes header(bytes, std::endian::little);
    if (!has_text(bytes, 0x202, "HdrS") || !header.has(0x248, 8) || header.read<std::uint16_t>(0x206) < 0x208)
        return std::nullopt;
    const auto setup_sectors = std::to_integer<std::size_t>(bytes[0x1F1]);
    const auto code = ((setup_sectors == 0 ? 4 : setup_sectors) + 1) * sector;
    return payload("bzImage", bytes, code + header.read<std::uint32_t>(0x248),
                   header.read<std::uint32_t>(0x24C));
}

std::optional<Payload> in_zboot(Bytes bytes) {
    const KernelBytes header(bytes, std::endian::little);
    if (!has_text(bytes, 0, "MZ") || !has_text(bytes, 4, "zimg") || !header.has(8, 8)) return std::nullopt;
    return payload("EFI zboot", bytes, header.read<std::uint32_t>(8), header.read<std::uint32_t>(12));
}

std::optional<Payload> in_wrapper(Bytes bytes) {
    for (const auto& open : {in_uimage, in_bzimage, in_zboot}) {
        if (auto inside = open(bytes)) return inside;
    }
    return std::nullopt;
}

/// Whether these are the bytes of a kernel as it runs, and not compressed ones that happen to have a stream
/// in them, as every kernel has (its initramfs).
bool has_kernel_tokens(Bytes bytes) {
    return find_token_table(bytes, 0).has_value();
}

class Unwrapper {
  public:
    explicit Unwrapper(Bytes file) : current_(file) {}

    [[nodiscard]] sys::Result<KernelImage> run() {
        for (int depth = 0; depth < max_wrappers; ++depth) {
            if (const auto inside = in_wrapper(current_)) {
                current_ = inside->bytes;
                note(inside->form);
                continue;
            }
            const auto codec = codec_of(current_);
            if (!codec && has_kernel_tokens(current_)) return finish();
            if (auto done = codec ? take(decompress(*codec, current_), *codec) : scan(); !done) {
                if (!form_.empty()) done.error().what = fmt::format("{}: {}", form_, done.error().what);
                return std::unexpected(std::move(done.error()));
            }
        }
        return sys::failure(sys::ErrorKind::invalid,
                            fmt::format("more than {} wrappers, one in another: {}", max_wrappers, form_));
    }

  private:
    void note(std::string_view form) { form_ += (form_.empty() ? "" : ", ") + std::string(form); }

    [[nodiscard]] Decompressed decompress(Codec codec, Bytes compressed) {
        auto content = decompress_stream(codec, compressed, std::min(max_kernel_image, max_work - work_));
        work_ += content ? content->size() : failed_work;
        return content;
    }

    [[nodiscard]] sys::Result<void> take(Decompressed content, Codec codec) {
        if (!content) return std::unexpected(std::move(content.error()));
        content_ = std::move(*content);
        current_ = content_;
        note(to_string(codec));
        return {};
    }

    /// The first stream somewhere in the bytes that decompresses to a kernel.
    [[nodiscard]] sys::Result<void> scan() {
        std::optional<sys::Error> reason;
        std::size_t from = 0;
        for (int tries = 0; tries < max_streams && work_ < max_work; ++tries) {
            const auto start = find_stream(current_, from);
            if (!start) break;
            auto content = decompress(start->codec, current_.subspan(start->offset));
            if (content && (has_kernel_tokens(*content) || codec_of(*content)))
                return take(std::move(content), start->codec);
            if (!content) reason = std::move(content.error());
            from = start->offset + 1;
        }
        constexpr auto hint =
            "give the image that QEMU boots, the kernel's System.map, or a copy of the guest's "
            "/proc/kallsyms";
        if (!reason)
            return sys::failure(
                sys::ErrorKind::invalid,
                "neither a kernel that lists its symbols (CONFIG_KALLSYMS), nor a compressed one", hint);
        return sys::failure(sys::ErrorKind::invalid,
                            "no kernel in it that can be decompressed: " + reason->what,
                            reason->hint.empty() ? hint : reason->hint);
    }

    [[nodiscard]] KernelImage finish() {
        if (form_.empty()) return {};
        if (content_.empty() || current_.data() != content_.data() || current_.size() != content_.size())
            return {{current_.begin(), current_.end()}, std::move(form_)};
        return {std::move(content_), std::move(form_)};
    }

    std::vector<std::byte> content_; ///< what was decompressed last
    Bytes current_;                  ///< the file, `content_`, or a part of either
    std::string form_;
    std::uint64_t work_ = 0;
};

} // namespace

std::string_view to_string(Codec codec) {
    return std::ranges::find(codecs, codec, &CodecRow::codec)->name;
}

std::optional<Codec> codec_of(std::span<const std::byte> beginning) {
    for (const auto& [codec, name, magic] : codecs) {
        if (as_text(beginning).starts_with(magic) && (codec != Codec::lzma || is_lzma_header(beginning)))
            return codec;
    }
    return std::nullopt;
}

std::optional<StreamStart> find_stream(std::span<const std::byte> bytes, std::size_t from) {
    std::optional<StreamStart> first;
    for (const auto& [codec, name, magic] : codecs) {
        auto at = find_bytes(bytes, magic, from);
        while (at && codec == Codec::lzma && !is_lzma_header(bytes.subspan(*at)))
            at = find_bytes(bytes, magic, *at + 1);
        if (!at) continue;
        if (!first || *at < first->offset) first = StreamStart{*at, codec};
        bytes = bytes.first(std::min(bytes.size(), *at + magic.size() + 16)); // only what is earlier matters
    }
    return first;
}

Decompressed decompress_stream(Codec codec, Bytes compressed, std::uint64_t limit) {
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

sys::Result<KernelImage> decompress_kernel(std::span<const std::byte> file) {
    return Unwrapper(file).run();
}

} // namespace kmodguard::symbols
