// SPDX-License-Identifier: AGPL-3.0-only
//
// A processor of the guest while it is stopped: its registers and the memory that it sees, in words of its
// own architecture.
#pragma once

#include "enforce/guest/architecture.hpp"
#include "gdb/client.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace kmodguard::guest {

class Processor {
  public:
    /// Both must outlive it.
    Processor(gdb::Client& debugger, const Architecture& architecture, gdb::ThreadId thread)
        : debugger_(&debugger), architecture_(&architecture), thread_(thread) {}

    [[nodiscard]] const Architecture& architecture() const { return *architecture_; }
    [[nodiscard]] gdb::ThreadId thread() const { return thread_; }

    [[nodiscard]] sys::Result<std::uint64_t> get(gdb::Register name) const;
    [[nodiscard]] sys::Result<std::vector<std::uint64_t>> get(std::span<const gdb::Register> names) const;
    [[nodiscard]] sys::Result<void> set(std::span<const gdb::Register> names,
                                        std::span<const std::uint64_t> values) const;

    /// Memory as the processor sees it now; ErrorKind::not_found where it sees none.
    [[nodiscard]] sys::Result<void> read(std::uint64_t address, std::span<std::byte> into) const;
    /// The same; false where it sees none.
    [[nodiscard]] sys::Result<bool> sees(std::uint64_t address, std::span<std::byte> into) const;
    [[nodiscard]] sys::Result<void> write(std::uint64_t address, std::span<const std::byte> bytes) const;
    /// Pointers, or whatever else has a pointer's size.
    [[nodiscard]] sys::Result<std::vector<std::uint64_t>> read_words(std::uint64_t address,
                                                                     std::size_t count) const;
    [[nodiscard]] sys::Result<void> write_words(std::uint64_t address,
                                                std::span<const std::uint64_t> words) const;

    /// At the first instruction of a function: where it will return to.
    [[nodiscard]] sys::Result<std::uint64_t> return_address() const;
    /// What the stack pointer will be then, if it is `stack` now.
    [[nodiscard]] std::uint64_t stack_after_return(std::uint64_t stack) const;
    /// At the first instruction of a function: returns from it with `value`, as if it had run.
    [[nodiscard]] sys::Result<void> return_now(std::uint64_t value) const;

  private:
    /// nullptr: not read yet.
    [[nodiscard]] gdb::RegisterValue* known(gdb::Register name) const;

    gdb::Client* debugger_;
    const Architecture* architecture_;
    gdb::ThreadId thread_;
    mutable std::vector<gdb::RegisterValue> known_;
};

} // namespace kmodguard::guest
