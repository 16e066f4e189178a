// SPDX-License-Identifier: AGPL-3.0-only
#include "modules/image_container.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>

namespace kmodguard::modules {
namespace {

using Magic = std::span<const unsigned char>;

constexpr std::array<unsigned char, 2> gzip_magic{0x1F, 0x8B};
constexpr std::array<unsigned char, 6> xz_magic{0xFD, '7', 'z', 'X', 'Z', 0};
constexpr std::array<unsigned char, 4> zstd_magic{0x28, 0xB5, 0x2F, 0xFD};

bool begins_with(std::span<const std::byte> bytes, Magic magic) {
    return bytes.size() >= magic.size()
           && std::ranges::equal(bytes.first(magic.size()), std::as_bytes(magic));
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
    TRY(source.read(0, bytes));
    return container_of(bytes);
}

} // namespace kmodguard::modules
