// SPDX-License-Identifier: AGPL-3.0-only
//
// The kernel's end of supervision: a system call that waits for an answer (seccomp_unotify(2)). A
// notification says who calls and with which registers, and nothing that these point at; and while it is
// looked at the caller may be killed, or called away by a signal. Then its id is no longer valid, and what
// was read of the process of that number may be another's.
#pragma once

#include "sys/result.hpp"
#include "sys/unique_fd.hpp"

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <string_view>
#include <variant>

namespace kmodguard::process {

enum class Call { init_module, finit_module, delete_module, other };

[[nodiscard]] std::string_view to_string(Call call);

/// Which call a number is in the system call table of `architecture` (AUDIT_ARCH_*); x32's numbers, which
/// share x86-64's architecture, included.
[[nodiscard]] Call call_of(std::uint32_t architecture, int number);

struct Notification {
    std::uint64_t id = 0;
    pid_t thread = 0; ///< the calling thread, in the supervisor's pid namespace; 0: not visible from here
    Call call = Call::other;
    std::array<std::uint64_t, 6> arguments{};
};

/// Why there is no notification.
enum class Nothing {
    gone,        ///< the caller was gone before it could be looked at, or all of them are (Linux 6.11)
    interrupted, ///< a signal came to the receiving thread
};

class Listener {
  public:
    /// Takes over `fd`, which must be a seccomp listener, close-on-exec from now on. Where the kernel can, it
    /// then wakes caller and supervisor on one processor, since they take turns (Linux 6.6).
    [[nodiscard]] static sys::Result<Listener> adopt(sys::UniqueFd fd);

    /// Waits for the next notification. Several threads may wait at once. It may wait on when no process is
    /// left under the filter: POLLHUP on fd() tells that.
    [[nodiscard]] sys::Result<std::variant<Notification, Nothing>> receive() const;

    /// Whether the caller still waits for the answer: what was read of it until now was its own.
    [[nodiscard]] bool is_waiting(std::uint64_t id) const;

    /// Lets the call return `result`: 0, or a negative errno. False: the caller is gone, or was interrupted.
    bool answer(std::uint64_t id, int result) const;

    [[nodiscard]] int fd() const { return fd_.get(); }

  private:
    explicit Listener(sys::UniqueFd fd) : fd_(std::move(fd)) {}

    sys::UniqueFd fd_;
};

} // namespace kmodguard::process
