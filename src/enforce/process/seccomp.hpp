// SPDX-License-Identifier: AGPL-3.0-only
//
// Supervision by seccomp. The filter hands the module system calls of a process, and of all that descends
// from it, to the process that has the listener. Whatever entry of the kernel is used, it is covered: a
// filter that knows one architecture's numbers alone lets the others' pass.
//
// At the listener each is a system call that waits for an answer (seccomp_unotify(2)). A notification has the
// caller and its registers, and nothing that these point at; and while it is looked at the caller may be
// killed, or called away by a signal. Then its id is no longer valid, and what was read of the process of
// that number may be another's.
#pragma once

#include "events/event.hpp"
#include "sys/result.hpp"
#include "sys/unique_fd.hpp"

#include <linux/filter.h>
#include <sys/types.h>

#include <array>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

namespace kmodguard::process {

using events::ModuleCall;
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

/// Which call a number is in the system call table of `architecture` (AUDIT_ARCH_*); x32's numbers, which
/// share x86-64's architecture, included.
[[nodiscard]] ModuleCall call_of(std::uint32_t architecture, int number);

/// The numbers of the module system calls on every table that this machine's kernel has, found once: to ask
/// the library of each call takes longer than the kernel does for it.
class CallNumbers {
  public:
    CallNumbers();
    [[nodiscard]] ModuleCall find(std::uint32_t architecture, int number) const; ///< as call_of()

  private:
    struct Known {
        std::uint32_t architecture = 0;
        int number = 0;
        ModuleCall call = ModuleCall::other;
    };
    std::vector<Known> known_;
};

struct Notification {
    std::uint64_t id = 0;
    pid_t thread = 0; ///< the calling thread, in the supervisor's pid namespace; 0: not visible from here
    ModuleCall call = ModuleCall::other;
    std::array<std::uint64_t, 6> arguments{};
};

class Listener {
  public:
    /// Takes over `fd`, which must be a seccomp listener, close-on-exec from now on. Where the kernel can, it
    /// then wakes caller and supervisor on one processor, since they take turns (Linux 6.6).
    [[nodiscard]] static sys::Result<Listener> adopt(sys::UniqueFd fd);

    /// Waits for the next notification. Several threads may wait at once. None: a signal came to this thread,
    /// or the caller was gone before it could be looked at, or all of them are (Linux 6.11). It may wait on
    /// when no process is left under the filter: POLLHUP on fd() tells that.
    [[nodiscard]] sys::Result<std::optional<Notification>> receive() const;

    /// Whether the caller still waits for the answer: what was read of it until now was its own.
    [[nodiscard]] bool is_waiting(std::uint64_t id) const;

    /// Lets the call return `result`: 0, or a negative errno. False: the caller is gone, or was interrupted.
    bool answer(std::uint64_t id, int result) const;

    [[nodiscard]] int fd() const { return fd_.get(); }

  private:
    explicit Listener(sys::UniqueFd fd) : fd_(std::move(fd)) {}

    sys::UniqueFd fd_;
    CallNumbers numbers_;
};

} // namespace kmodguard::process
