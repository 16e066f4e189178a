// SPDX-License-Identifier: AGPL-3.0-only
//
// How Linux reads the names of a module image, in its own steps and with its own carelessness: the other
// opinion that the real parser is held against. Whatever that one finds no fault with, every kernel of this
// model that accepts the image must read as the same names. Written after kernel/module/main.c: `classic` is
// Linux 6.1, `strict` 6.12; each of 32 and 64 bits and either byte order. The machine is taken to be right,
// so the model accepts more than any one kernel.
#pragma once

#include <bit>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace kmodguard::test {

struct KernelKind {
    bool is_64_bit;
    std::endian order;
    bool strict;
};

struct KernelReading {
    std::string name;                        ///< what it registers
    std::optional<std::string> modinfo_name; ///< what module_blacklist= is compared with
};

std::optional<KernelReading> kernel_reading(std::span<const std::byte> image, KernelKind kind);

/// All readings by kernels that accept `image`.
std::vector<KernelReading> kernel_readings(std::span<const std::byte> image);

} // namespace kmodguard::test
