// SPDX-License-Identifier: AGPL-3.0-only
//
// Calls of the guest's own kernel functions, injected into a task that has stopped at the first instruction
// of a function. They read what cannot be read from outside: a debugger sees no page that the processor has
// no translation for, and knows of files only their numbers.
//
// An injected call runs on the task's stack, below a frame that has the registers as they were. It returns to
// an address to which nothing ever returns by itself (the return trampoline, which has a hook). Everything
// needed to go on is in that frame, in the guest, so that if kmodctl dies in the middle the next one can put
// the task back (recover()).
//
//      stack pointer before   →  ...
//                                scratch: 1,024 bytes for results
//                                the frame: magic, the registers as they were
//      stack pointer in calls →  128 bytes that belong to the called function
#pragma once

#include "enforce/guest/machine.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

namespace kmodguard::guest {

/// Functions of the guest's kernel; 0 where it has none of the name.
struct Functions {
    std::uint64_t return_trampoline = 0; ///< not to be called: injected calls return to it
    std::uint64_t copy = 0;              ///< memcpy
    std::uint64_t get_file = 0;
    std::uint64_t put_file = 0;
    std::uint64_t file_path = 0;
    std::uint64_t duplicate_text = 0;   ///< strndup_user
    std::uint64_t duplicate_memory = 0; ///< memdup_user
    std::uint64_t free = 0;             ///< kfree
    std::uint64_t process_id = 0;       ///< sys_getpid
};

class CallInjection {
  public:
    static constexpr std::size_t scratch_bytes = 1024;

    /// `machine` must outlive it.
    CallInjection(Machine& machine, Functions functions, Processor processor, Location location)
        : machine_(machine), functions_(functions), processor_(std::move(processor)), location_(location) {}

    [[nodiscard]] const Processor& processor() const { return processor_; }
    [[nodiscard]] const Location& location() const { return location_; }
    /// Address of scratch_bytes bytes for what calls give back.
    [[nodiscard]] std::uint64_t scratch() const;

    /// Calls the kernel's function at `function` and gives what it returns. ErrorKind::not_found: there is no
    /// such function (its address is 0).
    [[nodiscard]] Task<sys::Result<std::uint64_t>> call(std::uint64_t function, std::uint64_t first = 0,
                                                        std::uint64_t second = 0, std::uint64_t third = 0);
    /// Puts the task back to where and how it was. Must be called before the guest goes on.
    [[nodiscard]] sys::Result<void> leave();

    /// Kernel memory, also such as only the guest itself can read. ErrorKind::not_found: it cannot either, or
    /// must not be asked: memory that is not there would make it crash.
    [[nodiscard]] Task<sys::Result<void>> read(std::uint64_t address, std::span<std::byte> into);
    /// A text of the process that called the kernel; `limit` bytes with its end at most, or an error.
    [[nodiscard]] Task<sys::Result<std::string>> user_text(std::uint64_t address, std::size_t limit);
    /// Memory of that process.
    [[nodiscard]] Task<sys::Result<void>> user_memory(std::uint64_t address, std::span<std::byte> into);
    /// The path of one of its open files, as the process itself would see it, and "" if it has none open.
    [[nodiscard]] Task<sys::Result<std::string>> path_of(std::uint64_t file_descriptor);

    /// Puts a task back that a kmodctl that died has left behind on `processor`, wherever it was in a call:
    /// about to make it, back from it, or between the two. It was stopped at one of `hooks`, and a frame that
    /// says anything else is none of ours. False: there is none.
    [[nodiscard]] static sys::Result<bool> recover(const Processor& processor, const Machine::Hooks& hooks);

  private:
    static constexpr std::size_t saved_registers = 7;

    [[nodiscard]] sys::Result<void> make_frame();
    [[nodiscard]] sys::Result<void> enter(std::uint64_t function, std::array<std::uint64_t, 3> arguments);
    [[nodiscard]] sys::Result<std::string> text_at(std::uint64_t address, std::size_t limit) const;

    Machine& machine_;
    Functions functions_; ///< a copy: where calls return to must not change while one is made
    Processor processor_;
    Location location_;
    std::array<std::uint64_t, saved_registers> before_{}; ///< the registers as they were
    std::uint64_t return_to_ = 0;                         ///< what calls find as their return address
    bool framed_ = false;                                 ///< the frame is in the guest
};

/// Whether a pointer that a kernel function returned is one of its errors (include/linux/err.h).
[[nodiscard]] bool is_error_pointer(std::uint64_t value, const Architecture& architecture);

} // namespace kmodguard::guest
