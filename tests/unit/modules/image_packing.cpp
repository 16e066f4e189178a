// SPDX-License-Identifier: AGPL-3.0-only
#include "modules/image_packing.hpp"

#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <stdexcept>

namespace kmodguard::test {

void require_packed(bool done) {
    if (!done) throw std::runtime_error("cannot pack");
}

Bytes pack_gzip(std::span<const std::byte> content) {
    z_stream stream{};
    require_packed(
        deflateInit2(&stream, Z_BEST_COMPRESSION, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY) == Z_OK);
    Bytes packed(::deflateBound(&stream, content.size()) + 64);
    Bytes input(content.begin(), content.end()); // next_in is not const
    stream.next_in = reinterpret_cast<Bytef*>(input.data());
    stream.avail_in = static_cast<uInt>(input.size());
    stream.next_out = reinterpret_cast<Bytef*>(packed.data());
    stream.avail_out = static_cast<uInt>(packed.size());
    const bool done = ::deflate(&stream, Z_FINISH) == Z_STREAM_END;
    packed.resize(stream.total_out);
    ::deflateEnd(&stream);
    require_packed(done);
    return packed;
}

Bytes pack_xz(std::span<const std::byte> content, lzma_check check) {
    lzma_options_lzma options{};
    require_packed(::lzma_lzma_preset(&options, LZMA_PRESET_DEFAULT) == 0);
    options.dict_size = 1U << 20U;
    std::array<lzma_filter, 2> filters{{{LZMA_FILTER_LZMA2, &options}, {LZMA_VLI_UNKNOWN, nullptr}}};
    Bytes packed(::lzma_stream_buffer_bound(content.size()));
    std::size_t used = 0;
    require_packed(::lzma_stream_buffer_encode(
                       filters.data(), check, nullptr, reinterpret_cast<const std::uint8_t*>(content.data()),
                       content.size(), reinterpret_cast<std::uint8_t*>(packed.data()), &used, packed.size())
                   == LZMA_OK);
    packed.resize(used);
    return packed;
}

Bytes pack_zstd(std::span<const std::byte> content, bool with_checksum) {
    ZSTD_CCtx* context = ::ZSTD_createCCtx();
    require_packed(context != nullptr);
    ::ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, with_checksum ? 1 : 0);
    Bytes packed(::ZSTD_compressBound(content.size()));
    const auto used = ::ZSTD_compress2(context, packed.data(), packed.size(), content.data(), content.size());
    ::ZSTD_freeCCtx(context);
    require_packed(::ZSTD_isError(used) == 0);
    packed.resize(used);
    return packed;
}

Bytes pack(std::span<const std::byte> content, modules::Container container) {
    switch (container) {
    case modules::Container::gzip: return pack_gzip(content);
    case modules::Container::xz: return pack_xz(content);
    case modules::Container::zstd: return pack_zstd(content);
    case modules::Container::raw: break;
    }
    return {content.begin(), content.end()};
}

Bytes joined(const Bytes& one, const Bytes& other) {
    Bytes both = one;
    both.insert(both.end(), other.begin(), other.end());
    return both;
}

Bytes octets(std::initializer_list<unsigned> values) {
    Bytes bytes;
    for (const unsigned value : values)
        bytes.push_back(static_cast<std::byte>(value));
    return bytes;
}

Bytes with_gzip_fields(Bytes member, unsigned flags, const Bytes& fields) {
    member[3] = static_cast<std::byte>(flags);
    member.insert(member.begin() + 10, fields.begin(), fields.end());
    return member;
}

Bytes with_xz_dictionary(Bytes stream, unsigned property) {
    const auto header = stream.begin() + 12;
    const auto size = (std::to_integer<std::ptrdiff_t>(*header) + 1) * 4;
    const auto lzma2 = octets({0x21, 1});
    const auto found = std::search(header, header + size, lzma2.begin(), lzma2.end());
    require_packed(found != header + size);
    *(found + 2) = static_cast<std::byte>(property);
    const auto crc =
        ::lzma_crc32(reinterpret_cast<const std::uint8_t*>(&*header), static_cast<std::size_t>(size - 4), 0);
    for (unsigned i = 0; i < 4; ++i)
        *(header + size - 4 + i) = static_cast<std::byte>(crc >> (8 * i) & 0xFFU);
    return stream;
}

} // namespace kmodguard::test
