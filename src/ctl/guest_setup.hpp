// SPDX-License-Identifier: AGPL-3.0-only
//
// What `kmodctl guest` must know before it watches a guest, found out from its options and the emulator's
// command: the architecture, the kernel's hook addresses, and the policy.
#pragma once

#include "core/judge.hpp"
#include "core/policy.hpp"
#include "ctl/context.hpp"
#include "ctl/options.hpp"
#include "enforce/guest/architecture.hpp"
#include "enforce/guest/session.hpp"

#include <memory>
#include <optional>

namespace kmodguard::ctl {

struct GuestSetup {
    const guest::Architecture* architecture = nullptr;
    std::optional<guest::KnownKernel> kernel; ///< none: to be searched for in the guest's memory
};

/// By --architecture, --symbols, --slide and --intercept; what is not given, by the emulator's command.
[[nodiscard]] sys::Result<GuestSetup> guest_setup(const GuestOptions& options);

/// The kernel that a halted guest runs, by the symbols in its memory; nullopt: it runs none, or not yet.
[[nodiscard]] sys::Result<std::optional<guest::KnownKernel>>
kernel_in_memory(guest::Interception interception, gdb::Client& debugger,
                 const guest::Architecture& architecture);

/// The policy of --policy. Without one: only the emulation framework's own module is allowed, and what is
/// refused seems to be done. With --framework that module must be the very file that is named there.
[[nodiscard]] sys::Result<core::PolicySource> guest_policy(const Context& context,
                                                           const GuestOptions& options);

/// Judges by `policy`, and with --kernel by the modules of that release below --root: those of the guest.
[[nodiscard]] sys::Result<std::unique_ptr<core::Judge>>
make_guest_judge(const sys::Paths& paths, const GuestOptions& options, core::PolicySource policy);

} // namespace kmodguard::ctl
