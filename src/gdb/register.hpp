// SPDX-License-Identifier: AGPL-3.0-only
//
// How a debugger's stub names a processor's registers. Stubs that describe their registers are asked for one
// by number; the others only know the packet with all of them, in which each has a fixed place.
#pragma once

#include <cstdint>

namespace kmodguard::gdb {

enum class ByteOrder : std::uint8_t { little, big };

struct Register {
    std::uint16_t number = 0; ///< in the packets `p` and `P`
    std::uint16_t offset = 0; ///< in the packet of all registers (`g`), bytes
    std::uint8_t size = 8;    ///< bytes: 4 or 8

    bool operator==(const Register&) const = default;
};

} // namespace kmodguard::gdb
