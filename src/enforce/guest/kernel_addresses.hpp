// SPDX-License-Identifier: AGPL-3.0-only
//
// The addresses of a guest's kernel that matter here: those of the functions that get a hook, and of the
// functions that injected calls use. Found by name; a kernel that lacks one that is indispensable is an
// error.
#pragma once

#include "enforce/guest/architecture.hpp"
#include "enforce/guest/call_injection.hpp"
#include "events/event.hpp"
#include "symbols/symbols.hpp"
#include "sys/result.hpp"

#include <cstdint>
#include <string_view>
#include <vector>

namespace kmodguard::guest {

using Call = events::ModuleCall;

/// A function that carries a system call out.
struct SystemCall {
    Call call = Call::init_module;
    std::uint64_t address = 0; ///< of its hook
    CallConvention convention;
};

struct KernelAddresses {
    Functions functions;
    std::vector<std::uint64_t> load_module; ///< empty: decided at the system calls
    std::vector<SystemCall> calls;
    std::uint64_t text_begin = 0; ///< of the kernel's code
    std::uint64_t text_end = 0;
    std::uint64_t banner = 0;            ///< "Linux version ..."; 0: not known
    std::uint64_t modules = 0;           ///< the list of those that are loaded; 0: not known
    std::uint64_t start = 0;             ///< where every boot comes to at its beginning; 0: not known
    std::vector<std::uint64_t> restarts; ///< where it comes to at its end
    bool fixed = false;                  ///< the kernel is here, and was not moved
    bool of_this_boot = false;           ///< where it will be after the next is not known

    /// The same in a kernel that was moved by `offset`.
    [[nodiscard]] KernelAddresses moved(std::uint64_t offset) const;
};

/// Where a module load is decided: where the kernel has a copy of the image, which no process can change any
/// more; or, for kernels before Linux 3.8, at the system call itself.
enum class Interception : std::uint8_t { automatic, load_module, system_call };

/// ErrorKind::invalid: the symbols are those of no kernel that could be guarded.
[[nodiscard]] sys::Result<KernelAddresses>
find_addresses(const symbols::Symbols& symbols, const Architecture& architecture,
               Interception interception = Interception::automatic);

} // namespace kmodguard::guest
