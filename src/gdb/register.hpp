// SPDX-License-Identifier: AGPL-3.0-only
//
// How a debugger's stub names a processor's registers. Stubs that describe their registers are asked for one
// by number; the others only know the packet with all of them, in which each has a fixed offset.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

namespace kmodguard::gdb {

struct Register {
    std::uint16_t number = 0; ///< in the packets `p` and `P`
    std::uint16_t offset = 0; ///< in the packet of all registers (`g`), bytes
    std::uint8_t size = 8;    ///< bytes: 4 or 8

    bool operator==(const Register&) const = default;
};

/// The number that `bytes` (8 at most) are in `order`.
[[nodiscard]] constexpr std::uint64_t value_of(std::span<const std::byte> bytes, std::endian order) {
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < bytes.size(); ++i)
        value = value << 8U
                | std::to_integer<std::uint64_t>(bytes[order == std::endian::big ? i : bytes.size() - 1 - i]);
    return value;
}

/// The lower bytes of `value`, in `order`.
constexpr void put_value(std::uint64_t value, std::endian order, std::span<std::byte> bytes) {
    for (std::size_t i = 0; i < bytes.size(); ++i, value >>= 8U)
        bytes[order == std::endian::big ? bytes.size() - 1 - i : i] = static_cast<std::byte>(value & 0xffU);
}

} // namespace kmodguard::gdb
