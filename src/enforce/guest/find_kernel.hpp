// SPDX-License-Identifier: AGPL-3.0-only
//
// Where in its memory the guest's kernel is. A kernel may be moved at every boot (KASLR), all of it by the
// same distance. It is found by where processors are while they run it, and known by its banner, so that
// symbols of another kernel are noticed before anything is done with them. Where no symbols were given, the
// kernel, once it runs, has them in its memory.
#pragma once

#include "enforce/guest/kernel_addresses.hpp"
#include "enforce/guest/machine.hpp"
#include "symbols/symbols.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace kmodguard::guest {

struct FoundKernel {
    std::uint64_t kaslr_offset = 0; ///< from where it was linked to
    std::string banner;             ///< "Linux version ..."; "" if the symbols do not tell where it is

    bool operator==(const FoundKernel&) const = default;
};

/// Whether that is the kernel of `expected`, or nothing speaks against it.
[[nodiscard]] bool is_kernel_of(const FoundKernel& found, const std::optional<symbols::Banner>& expected);
/// That it is not.
[[nodiscard]] sys::Error other_kernel(const FoundKernel& found, const symbols::Banner& expected);

struct KernelSearch {
    std::optional<FoundKernel> kernel; ///< none: no processor runs it now; it may not have begun
    bool some_kernel = false; ///< a processor is where kernels are: this one, another, or a boot loader
};

/// Looks in a halted machine for a kernel that is laid out as `linked`. One that moves itself leaves a copy
/// where it was linked to, so one that is found there may be none: `moved_only` passes it over.
[[nodiscard]] sys::Result<KernelSearch> find_kernel(Machine& machine, const KernelAddresses& linked,
                                                    bool moved_only);

/// The kernel of `linked` at `offset`, where a processor has come to its start; nullopt: that is other code.
[[nodiscard]] sys::Result<std::optional<FoundKernel>>
kernel_at(const Processor& processor, const KernelAddresses& linked, std::uint64_t offset);

/// What the processors of a halted machine show of the kernel that was found at an offset.
enum class Presence : std::uint8_t {
    there,
    /// A processor that has begun to run a kernel has something else where its banner was.
    gone,
    /// One that is in a kernel does not see that address: that is another kernel, or the instructions between
    /// a process and its kernel, which run without the kernel's memory (page table isolation).
    hidden,
    /// No processor that is in a kernel was asked. One that runs a process does not see the kernel where
    /// QEMU's stub reads with the process's rights (arm64), or under page table isolation.
    unknown,
};
[[nodiscard]] sys::Result<Presence> presence_of(Machine& machine, const KernelAddresses& linked,
                                                std::uint64_t offset);

/// A piece of the machine's memory.
struct MemoryRange {
    std::uint64_t begin = 0;
    std::uint64_t size = 0; ///< bytes

    bool operator==(const MemoryRange&) const = default;
};

/// Most bytes of a guest's memory that are looked at, from its lowest address on: kernels are put there.
inline constexpr std::uint64_t max_memory = 512ULL << 20U;

/// The machine's memory as QEMU's monitor lists it (`info mtree -f`), each piece once, max_memory in all.
[[nodiscard]] std::vector<MemoryRange> memory_ranges(std::string_view listing);

/// The symbols of the kernel that a halted machine has in its memory, at the addresses at which it runs;
/// nullopt: there is none, or not yet. QEMU is asked to write that memory to a file, for through the
/// debugger's stub it would take minutes; it must be allowed to do so in a new folder in the directory for
/// temporary files.
[[nodiscard]] sys::Result<std::optional<symbols::Symbols>> symbols_in_memory(gdb::Client& debugger);

} // namespace kmodguard::guest
