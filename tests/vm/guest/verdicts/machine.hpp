// SPDX-License-Identifier: AGPL-3.0-only
//
// The kernel of this machine, guarded: with the very code that the daemon uses.
#pragma once

#include "enforce/kernel/guard.hpp"
#include "enforce/kernel/records.hpp"
#include "enforce/kernel/status.hpp"
#include "sys/unique_fd.hpp"

#include <cstddef>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

namespace kmodguard::verdicts {

/// Prints what went wrong and ends the program with status 2: nothing was compared.
[[noreturn]] void give_up(const sys::Error& error);

template <typename T>
T or_give_up(sys::Result<T> result) {
    if (!result) give_up(result.error());
    if constexpr (!std::is_void_v<T>) return std::move(*result);
}

/// Or gives up.
void publish(kernel::Guard& guard, const kernel::PolicyTable& table);

class GuardedMachine {
  public:
    /// Guards, and lets nothing pass yet.
    GuardedMachine();
    ~GuardedMachine(); ///< takes the guard away
    GuardedMachine(const GuardedMachine&) = delete;
    GuardedMachine& operator=(const GuardedMachine&) = delete;

    [[nodiscard]] kernel::Guard& guard() { return guard_; }
    [[nodiscard]] const kernel::Support& support() const { return support_; }

    /// The records of images that this process brought since the last call.
    [[nodiscard]] std::vector<guard_record> take_records();

  private:
    kernel::Support support_;
    kernel::Guard guard_;
    std::vector<guard_record> records_;
    std::unique_ptr<kernel::RecordReader> reader_;
};

/// init_module(2); 0 or an errno.
[[nodiscard]] int init_module(std::span<const std::byte> image);

/// finit_module(2) of a file in memory.
class MemoryFile {
  public:
    MemoryFile();
    [[nodiscard]] int finit_module(std::span<const std::byte> image);

  private:
    sys::UniqueFd fd_;
};

} // namespace kmodguard::verdicts
