// SPDX-License-Identifier: AGPL-3.0-only
//
// The seccomp filter that hands the module system calls of a process, and of all that descends from it, to
// the process that has the listener. Whatever entry of the kernel is used, it is covered: a filter that knows
// one architecture's numbers alone lets the others' pass.
#pragma once

#include "sys/result.hpp"
#include "sys/unique_fd.hpp"

#include <linux/filter.h>

#include <vector>

namespace kmodguard::process {

using FilterProgram = std::vector<sock_filter>;

/// A filter that notifies of init_module, finit_module and delete_module on every system call table that this
/// machine's kernel has (on x86-64: 64-bit, x32, 32-bit), kills callers of a table it does not know, and
/// allows the rest.
[[nodiscard]] sys::Result<FilterProgram> build_filter();

/// Puts `program` on the calling thread for good and returns its listener. A caller without CAP_SYS_ADMIN in
/// its user namespace also gets no_new_privs, as the kernel demands (seccomp(2)); its set-user-id programs
/// then gain nothing. Fails if the thread is under a listener already: the kernel allows one in a line of
/// filters.
[[nodiscard]] sys::Result<sys::UniqueFd> install_filter(const FilterProgram& program);

} // namespace kmodguard::process
