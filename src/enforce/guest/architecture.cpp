// SPDX-License-Identifier: AGPL-3.0-only
#include "enforce/guest/architecture.hpp"

#include <algorithm>

namespace kmodguard::guest {
namespace {

using Kind = CallConvention::Kind;

constexpr gdb::Register at(std::uint16_t number, std::uint8_t size) {
    return {.number = number, .offset = static_cast<std::uint16_t>(number * size), .size = size};
}

/// One that is not where the others of its size are.
constexpr gdb::Register at(std::uint16_t number, std::uint8_t size, std::uint16_t offset) {
    return {.number = number, .offset = offset, .size = size};
}

// x86 has wrappers since Linux 4.17, arm64 since 4.19, riscv since 6.6, powerpc between 5.10 and 6.1.
constexpr CallConvention plain{.prefix = "sys_"};
constexpr std::array plain_calls = {plain};
constexpr std::array x86_calls = {CallConvention{.prefix = "__x64_sys_",
                                                 .kind = Kind::saved,
                                                 .offsets = {112, 104, 96}, // di, si, dx
                                                 .shared = "__do_sys_"},
                                  CallConvention{.prefix = "__ia32_sys_",
                                                 .kind = Kind::saved,
                                                 .offsets = {40, 88, 96}, // bx, cx, dx
                                                 .shared = "__do_sys_"},
                                  plain};
constexpr std::array arm64_calls = {
    CallConvention{.prefix = "__arm64_sys_", .kind = Kind::saved, .offsets = {0, 8, 16}}, plain};
constexpr std::array riscv_calls = {
    CallConvention{.prefix = "__riscv_sys_", .kind = Kind::saved, .offsets = {280, 88, 96}}, plain};
constexpr std::array powerpc_calls = {
    CallConvention{.prefix = "sys_", .kind = Kind::either, .offsets = {24, 32, 40}}}; // gpr[3], [4], [5]

constexpr std::uint32_t large_page = 2U << 20U;
constexpr std::uint32_t small_step = 64U << 10U;

/// The four of one family differ in width and byte order alone. Their stub describes no registers.
constexpr Architecture mips(std::string_view name, std::string_view emulator, std::endian order,
                            std::uint8_t word) {
    return {.name = name,
            .emulator = emulator,
            .order = order,
            .word = word,
            .pc = at(37, word),
            .stack = at(29, word),
            .arguments = {at(4, word), at(5, word), at(6, word)},
            .result = at(2, word),
            .link = at(31, word),
            .target = at(25, word),
            .privilege = {.where = at(32, word), .mask = 0x1e, .user = 0x10}, // Status: KSU, ERL, EXL
            .kernel_base = word == 4 ? 0x8000'0000ULL : 0x8000'0000'0000'0000ULL,
            .kaslr_step = small_step,
            .system_calls = plain_calls};
}

constexpr std::array table = {
    Architecture{.name = "amd64",
                 .emulator = "x86_64",
                 .pc = at(16, 8),
                 .stack = at(7, 8),
                 .arguments = {at(5, 8), at(4, 8), at(3, 8)},
                 .result = at(0, 8),
                 .privilege = {.where = at(18, 4, 140), .mask = 3, .user = 3}, // cs
                 .breakpoint_kind = 1,
                 .kernel_base = 0xff00'0000'0000'0000ULL,
                 .kaslr_step = large_page,
                 .system_calls = x86_calls},
    Architecture{.name = "arm64",
                 .emulator = "aarch64",
                 .pc = at(32, 8),
                 .stack = at(31, 8),
                 .arguments = {at(0, 8), at(1, 8), at(2, 8)},
                 .result = at(0, 8),
                 .link = at(30, 8),
                 .privilege = {.where = at(33, 4, 264), .mask = 0xf, .user = 0}, // EL0
                 .kernel_base = 0xfff0'0000'0000'0000ULL,
                 .kaslr_step = small_step,
                 .system_calls = arm64_calls},
    Architecture{.name = "armhf",
                 .emulator = "arm",
                 .word = 4,
                 .pc = at(15, 4),
                 .stack = at(13, 4),
                 .arguments = {at(0, 4), at(1, 4), at(2, 4)},
                 .result = at(0, 4),
                 .link = at(14, 4),
                 .privilege = {.where = at(25, 4, 64), .mask = 0xf, .user = 0}, // usr
                 .state = at(25, 4, 64),
                 .kernel_base = 0x4000'0000ULL, // of all the splits of the address space the lowest
                 .system_calls = plain_calls},
    mips("mips", "mips", std::endian::big, 4), mips("mipsel", "mipsel", std::endian::little, 4),
    mips("mips64", "mips64", std::endian::big, 8), mips("mips64el", "mips64el", std::endian::little, 8),
    // A described stub leaves the floating point registers out of the packet of all registers.
    Architecture{.name = "ppc64el",
                 .emulator = "ppc64",
                 .pc = at(64, 8, 256),
                 .stack = at(1, 8),
                 .arguments = {at(3, 8), at(4, 8), at(5, 8)},
                 .result = at(3, 8),
                 .link = at(67, 8, 276),
                 .target = at(12, 8),
                 .privilege = {.where = at(65, 8, 264),
                               .mask = 0x4000, // MSR: PR
                               .user = 0x4000},
                 .entry = 8,
                 .kernel_base = 0xc000'0000'0000'0000ULL,
                 .system_calls = powerpc_calls},
    Architecture{.name = "riscv64",
                 .emulator = "riscv64",
                 .pc = at(32, 8),
                 .stack = at(2, 8),
                 .arguments = {at(10, 8), at(11, 8), at(12, 8)},
                 .result = at(10, 8),
                 .link = at(1, 8),
                 .privilege = {.where = std::nullopt, .name = "priv", .mask = 3, .user = 0},
                 .kernel_base = 0xff00'0000'0000'0000ULL,
                 .kaslr_step = large_page,
                 .system_calls = riscv_calls}};

} // namespace

std::array<gdb::Register, 7> Architecture::saved() const {
    return {
        arguments[0], arguments[1], arguments[2], link.value_or(result), target.value_or(result), stack, pc};
}

std::array<gdb::Register, 8> Architecture::stop_registers() const {
    return {pc,           stack,  arguments[0],          arguments[1],
            arguments[2], result, link.value_or(result), target.value_or(result)};
}

std::span<const Architecture> architectures() {
    return table;
}

const Architecture* find_architecture(std::string_view name) {
    constexpr std::string_view program = "qemu-system-";
    name = name.substr(name.find_last_of('/') + 1);
    if (name.starts_with(program)) name.remove_prefix(program.size());
    const auto found = std::ranges::find_if(
        table, [name](const Architecture& row) { return row.name == name || row.emulator == name; });
    return found == table.end() ? nullptr : &*found;
}

} // namespace kmodguard::guest
