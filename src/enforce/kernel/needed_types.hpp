// SPDX-License-Identifier: AGPL-3.0-only
//
// What the programs need to know of the running kernel's types. The kernel describes all of them (BTF), some
// hundred thousand, and libbpf would read all and then search them from the first to the last for each
// structure and each hook that a program names: a third of what a first start cost. Here they are walked
// once, and what is needed is picked out. No state, no threads.
#pragma once

#include "sys/result.hpp"

#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <span>
#include <string>
#include <string_view>

namespace kmodguard::kernel {

struct NeededTypes {
    using Names = std::set<std::string, std::less<>>;

    Names types;     ///< structures, unions and enumerations
    Names members;   ///< of whichever of them
    Names functions; ///< that programs are attached to
};

/// What a kernel has of them.
struct FoundTypes {
    /// BTF with these types alone, of their members those that are needed, as members lie in the kernel's
    /// structures; where there are several types of one name, all. What a pointer points to is left out.
    std::string btf;
    std::map<std::string, std::uint32_t, std::less<>> functions; ///< numbers in the kernel's own BTF
};

/// Picks them out of `btf`, as /sys/kernel/btf/vmlinux has it. Fails if that is malformed, or has types of a
/// kind that is not known here.
[[nodiscard]] sys::Result<FoundTypes> find_types(std::string_view btf, const NeededTypes& needed);

} // namespace kmodguard::kernel
