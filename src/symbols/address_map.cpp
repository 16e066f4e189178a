// SPDX-License-Identifier: AGPL-3.0-only
#include "symbols/address_map.hpp"

#include <elf.h>

namespace kmodguard::symbols {

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
