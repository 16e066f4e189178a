// SPDX-License-Identifier: AGPL-3.0-only
//
// xz: header, blocks, an index with the size of each block, footer with the size of the index. A second
// stream shows in that the sizes do not add up to the file's. zstd: header, blocks with their sizes before
// them, and an optional checksum; walking them leads to the end of the frame.
#include "modules/image_container.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

namespace kmodguard::modules {
namespace {

using Magic = std::span<const unsigned char>;

constexpr std::array<unsigned char, 2> gzip_magic{0x1F, 0x8B};
constexpr std::array<unsigned char, 6> xz_magic{0xFD, '7', 'z', 'X', 'Z', 0};
constexpr std::array<unsigned char, 4> zstd_magic{0x28, 0xB5, 0x2F, 0xFD};

constexpr std::uint64_t xz_edge = 12; ///< size of the stream header, and of the footer
/// A record a block of at least some 100 KiB: more than enough for any image within the limits.
constexpr std::uint64_t max_xz_index = 64U << 10U;

std::unexpected<sys::Error> malformed(std::string what) {
    return sys::failure(sys::ErrorKind::invalid, std::move(what));
}

bool begins_with(std::span<const std::byte> bytes, Magic magic) {
    return bytes.size() >= magic.size()
           && std::ranges::equal(bytes.first(magic.size()), std::as_bytes(magic));
}

template <std::size_t N>
sys::Result<std::array<std::uint8_t, N>> read_array(ByteSource& source, std::uint64_t offset) {
    std::array<std::uint8_t, N> bytes{};
    if (auto done = source.read(offset, std::as_writable_bytes(std::span(bytes))); !done)
        return std::unexpected(std::move(done.error()));
    return bytes;
}

std::uint32_t little_endian(std::span<const std::uint8_t> bytes) {
    std::uint32_t value = 0;
    for (std::size_t i = bytes.size(); i-- > 0;)
        value = value << 8U | bytes[i];
    return value;
}

/// Takes a variable-length integer of at most 63 bits off the front of `bytes`.
std::optional<std::uint64_t> take_xz_integer(std::span<const std::byte>& bytes) {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 63 && !bytes.empty(); shift += 7) {
        const auto byte = std::to_integer<std::uint64_t>(bytes.front());
        bytes = bytes.subspan(1);
        value |= (byte & 0x7FU) << shift;
        if ((byte & 0x80U) == 0) return value;
    }
    return std::nullopt;
}

/// What the blocks take in the file, by the index; nothing if the index is malformed or says more than
/// `limit`.
std::optional<std::uint64_t> xz_blocks_size(std::span<const std::byte> index, std::uint64_t limit) {
    if (index.empty() || index.front() != std::byte{0}) return std::nullopt;
    index = index.subspan(1);
    const auto count = take_xz_integer(index);
    if (!count || *count > index.size()) return std::nullopt;
    std::uint64_t total = 0;
    for (std::uint64_t i = 0; i < *count; ++i) {
        const auto unpadded = take_xz_integer(index);
        const auto content = take_xz_integer(index);
        if (!unpadded || !content || *unpadded > limit - total) return std::nullopt;
        total = std::min((total + *unpadded + 3) & ~std::uint64_t{3}, limit);
    }
    return total;
}

sys::Result<void> check_xz(ByteSource& source) {
    const auto size = source.size();
    if (size < 2 * xz_edge) return malformed("xz stream is cut off");
    const auto footer = read_array<xz_edge>(source, size - xz_edge);
    if (!footer) return std::unexpected(footer.error());
    if ((*footer)[10] != 'Y' || (*footer)[11] != 'Z')
        return malformed("xz stream is cut off, or data follow it");
    const std::uint64_t index_size = (std::uint64_t{little_endian(std::span(*footer).subspan(4, 4))} + 1) * 4;
    if (index_size > max_xz_index || index_size > size - 2 * xz_edge) return malformed("xz index is damaged");
    const auto index = read_range(source, size - xz_edge - index_size, index_size);
    if (!index) return std::unexpected(index.error());
    const auto blocks_room = size - 2 * xz_edge - index_size;
    if (xz_blocks_size(index->all(), blocks_room) != blocks_room)
        return malformed("more than one xz stream, or a damaged index");
    return {};
}

/// Size of a zstd frame's header, magic included, by its descriptor byte.
std::uint64_t zstd_header_size(std::uint8_t descriptor) {
    constexpr std::array<std::uint64_t, 4> dictionary_sizes{0, 1, 2, 4};
    constexpr std::array<std::uint64_t, 4> content_sizes{0, 2, 4, 8};
    const bool single_segment = (descriptor & 0x20U) != 0;
    const unsigned content = descriptor >> 6U;
    return 5 + (single_segment ? 0U : 1U) + dictionary_sizes[descriptor & 3U]
           + (single_segment && content == 0 ? 1U : content_sizes[content]);
}

sys::Result<void> check_zstd(ByteSource& source) {
    const auto descriptor = read_array<1>(source, zstd_magic.size());
    if (!descriptor) return malformed("zstd frame is cut off");
    std::uint64_t at = zstd_header_size(descriptor->front());
    for (bool last = false; !last;) {
        const auto bytes = read_array<3>(source, at);
        if (!bytes)
            return bytes.error().kind == sys::ErrorKind::invalid ? malformed("zstd frame is cut off")
                                                                 : std::unexpected(bytes.error());
        const std::uint32_t block = little_endian(*bytes);
        const unsigned type = block >> 1U & 3U;
        if (type == 3) return malformed("zstd frame is damaged");
        last = (block & 1U) != 0;
        at += 3 + (type == 1 ? 1U : block >> 3U); // a block of one repeated byte is that byte
    }
    if ((descriptor->front() & 4U) != 0) at += 4; // checksum
    if (at > source.size()) return malformed("zstd frame is cut off");
    if (at < source.size()) return malformed("data after the zstd frame");
    return {};
}

} // namespace

std::string_view to_string(Container container) {
    switch (container) {
    case Container::raw: return "raw";
    case Container::gzip: return "gzip";
    case Container::xz: return "xz";
    case Container::zstd: return "zstd";
    }
    std::unreachable();
}

Container container_of(std::span<const std::byte> beginning) {
    if (begins_with(beginning, gzip_magic)) return Container::gzip;
    if (begins_with(beginning, xz_magic)) return Container::xz;
    if (begins_with(beginning, zstd_magic)) return Container::zstd;
    return Container::raw;
}

sys::Result<Container> container_of(ByteSource& source) {
    std::array<std::byte, xz_magic.size()> buffer{};
    const auto bytes = std::span(buffer).first(
        static_cast<std::size_t>(std::min<std::uint64_t>(source.size(), buffer.size())));
    if (auto done = source.read(0, bytes); !done) return std::unexpected(std::move(done.error()));
    return container_of(bytes);
}

sys::Result<void> check_single_stream(ByteSource& source, Container container) {
    switch (container) {
    case Container::raw:
    case Container::gzip: return {};
    case Container::xz: return check_xz(source);
    case Container::zstd: return check_zstd(source);
    }
    std::unreachable();
}

sys::Result<std::uint32_t> gzip_content_size(ByteSource& source) {
    if (source.size() < 18) return malformed("gzip member is cut off");
    const auto trailer = read_array<4>(source, source.size() - 4);
    if (!trailer) return std::unexpected(trailer.error());
    return little_endian(*trailer);
}

} // namespace kmodguard::modules
