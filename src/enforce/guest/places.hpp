// SPDX-License-Identifier: AGPL-3.0-only
//
// The places of a guest's kernel that matter here: where modules come in, and the functions that help to look
// at them. Found by name; a kernel that lacks what nothing can be held without is an error.
#pragma once

#include "enforce/guest/architecture.hpp"
#include "enforce/guest/visit.hpp"
#include "symbols/symbols.hpp"
#include "sys/result.hpp"

#include <cstdint>
#include <string_view>
#include <vector>

namespace kmodguard::guest {

enum class Call : std::uint8_t { init_module, finit_module, delete_module };
[[nodiscard]] std::string_view to_string(Call call);

/// A function that carries a system call out.
struct SystemCall {
    Call call = Call::init_module;
    std::uint64_t address = 0; ///< where a breakpoint goes
    CallConvention convention;
};

struct Places {
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

    /// The same in a kernel that was moved by `distance`.
    [[nodiscard]] Places moved(std::uint64_t distance) const;
};

/// Where a module load is decided: where the kernel has a copy of the image, which nobody can change any
/// more; or, for kernels before Linux 3.8, at the system call itself.
enum class Interception : std::uint8_t { automatic, load_module, system_call };

/// ErrorKind::invalid: the symbols are those of no kernel that could be held.
[[nodiscard]] sys::Result<Places> find_places(const symbols::Symbols& symbols,
                                              const Architecture& architecture,
                                              Interception interception = Interception::automatic);

} // namespace kmodguard::guest
