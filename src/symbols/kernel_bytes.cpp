// SPDX-License-Identifier: AGPL-3.0-only
#include "symbols/kernel_bytes.hpp"

#include <elf.h>

#include <algorithm>

namespace kmodguard::symbols {
namespace {

constexpr std::string_view banner_start = "Linux version ";
constexpr std::size_t max_banners = 64;

bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

} // namespace

std::optional<std::size_t> find_bytes(std::span<const std::byte> bytes, std::string_view wanted,
                                      std::size_t from) {
    if (from >= bytes.size()) return std::nullopt;
    const auto rest = bytes.subspan(from);
    const auto* const found =
        static_cast<const std::byte*>(::memmem(rest.data(), rest.size(), wanted.data(), wanted.size()));
    if (found == nullptr) return std::nullopt;
    return from + static_cast<std::size_t>(found - rest.data());
}

std::optional<std::string> banner_text(std::span<const std::byte> bytes) {
    const auto text = as_text(bytes.first(std::min<std::size_t>(bytes.size(), max_banner)));
    const auto end = text.find('\n');
    if (!text.starts_with(banner_start) || end == std::string_view::npos || end + 1 >= text.size()
        || text[end + 1] != '\0')
        return std::nullopt;
    const auto line = text.substr(0, end);
    // A first, provisional one in newer kernels has no number of the build: "# SMP" for "#1 SMP".
    const auto build = line.rfind('#');
    if (!is_digit(line[banner_start.size()]) || build == std::string_view::npos || build + 1 == line.size()
        || !is_digit(line[build + 1]) || !std::ranges::all_of(line, is_printable))
        return std::nullopt;
    return std::string(line);
}

std::vector<std::size_t> find_banners(std::span<const std::byte> bytes) {
    std::vector<std::size_t> found;
    std::size_t from = 0;
    while (const auto at = find_bytes(bytes, banner_start, from)) {
        if (banner_text(bytes.subspan(*at))) found.push_back(*at);
        if (found.size() == max_banners) break;
        from = *at + 1;
    }
    return found;
}

AddressMap AddressMap::of_segments(std::span<const modules::ElfSegment> segments) {
    AddressMap map;
    for (const auto& segment : segments) {
        // The per-CPU data of an x86 kernel is linked to address 0.
        if (segment.type == PT_LOAD && segment.file_size != 0 && segment.address != 0)
            map.pieces_.push_back({segment.offset, segment.address, segment.file_size});
    }
    return map;
}

AddressMap AddressMap::of_flat_image(std::uint64_t size, std::uint64_t offset, std::uint64_t address) {
    AddressMap map;
    map.pieces_.push_back({0, address - offset, size}); // modulo 2^64, as the differences below
    return map;
}

std::optional<std::uint64_t> AddressMap::address_of(std::uint64_t offset) const {
    for (const auto& piece : pieces_) {
        if (offset >= piece.offset && offset - piece.offset < piece.size)
            return piece.address + (offset - piece.offset);
    }
    return std::nullopt;
}

std::optional<std::uint64_t> AddressMap::offset_of(std::uint64_t address) const {
    for (const auto& piece : pieces_) {
        if (address - piece.address < piece.size) return piece.offset + (address - piece.address);
    }
    return std::nullopt;
}

} // namespace kmodguard::symbols
