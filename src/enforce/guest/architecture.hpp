// SPDX-License-Identifier: AGPL-3.0-only
//
// Everything that differs between processors, one row each: how registers are numbered, how functions and
// system calls get their arguments, what a breakpoint can be set on, and what memory a debugger sees. Nothing
// else in the guest point knows one processor from another.
#pragma once

#include "gdb/target_description.hpp"

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace kmodguard::guest {

/// Where a system call's function finds its first three arguments.
struct CallConvention {
    enum class Kind : std::uint8_t {
        registers, ///< like any function
        saved,     ///< argument 0 is a struct pt_regs in kernel memory that has them
        either     ///< saved if argument 0 is an address of the kernel, else registers: one name for both
    };
    std::string_view prefix; ///< of the function's name: "__x64_sys_"
    Kind kind = Kind::registers;
    std::array<std::uint16_t, 3> offsets{}; ///< in struct pt_regs (arch/*/include/asm/ptrace.h), bytes
    /// Of a function that the wrappers of both ABIs may share, "__do_sys_"; "": there is none.
    std::string_view shared = {};
};

/// How a processor says that it runs a process, not the kernel. A process may jump to any address and set any
/// register but this: QEMU stops at a breakpoint before it finds out that the address is not the process's to
/// go to.
struct Privilege {
    std::optional<gdb::Register> where = std::nullopt;
    std::string_view name = {}; ///< what the stub calls it, where its number differs between machines
    std::uint64_t mask = 0;
    std::uint64_t user = 0; ///< the value under the mask that means a process
};

struct Architecture {
    std::string_view name;     ///< as Debian calls the ports, for people and --architecture
    std::string_view emulator; ///< qemu-system-...
    std::endian order = std::endian::little;
    std::uint8_t word = 8; ///< bytes of a pointer

    gdb::Register pc;
    gdb::Register stack;
    std::array<gdb::Register, 3> arguments; ///< of a C function
    gdb::Register result;
    std::optional<gdb::Register> link = std::nullopt;   ///< the return address; none: on the stack (x86)
    std::optional<gdb::Register> target = std::nullopt; ///< must have the called function's address
    Privilege privilege;
    std::optional<gdb::Register> state = std::nullopt; ///< bit 5: functions return to odd addresses (Thumb)
    std::uint8_t entry = 0;           ///< a function's body, behind what sets up its table of contents
    std::uint8_t breakpoint_kind = 4; ///< of the packet Z
    std::uint64_t kernel_base = 0;    ///< addresses from here on are the kernel's
    std::uint32_t kaslr_step = 0;     ///< KASLR moves a kernel by multiples of it; 0: never
    std::span<const CallConvention> system_calls;

    /// What a called function may change of all that a function has a right to find, in the order in which a
    /// frame saves them (call_injection.hpp).
    [[nodiscard]] std::array<gdb::Register, 7> saved() const;
    /// What is read of a processor that stops: where it is, on which stack, with which arguments and result.
    [[nodiscard]] std::array<gdb::Register, 8> stop_registers() const;
    [[nodiscard]] std::uint64_t address_mask() const {
        return word == 4 ? 0xffff'ffffULL : ~std::uint64_t{0};
    }
};

[[nodiscard]] std::span<const Architecture> architectures();
/// By the name of a port or of QEMU's program, with or without "qemu-system-" and folders; nullptr: none
/// such.
[[nodiscard]] const Architecture* find_architecture(std::string_view name);

} // namespace kmodguard::guest
