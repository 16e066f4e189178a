// SPDX-License-Identifier: AGPL-3.0-only
//
// The emulated machine as something that stops at places and goes on: breakpoints that stay, places where a
// certain task of the guest is waited for, and the loop's one turn, in which a stop is attended to.
//
// A task of the guest is told from all others by its stack pointer: no two share a stack. It may be put on
// another processor while it is waited for.
#pragma once

#include "enforce/guest/processor.hpp"
#include "enforce/guest/task.hpp"

#include <chrono>
#include <coroutine>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <optional>
#include <utility>

namespace kmodguard::guest {

/// A stop at a place of the guest's kernel, on the processor that stopped.
struct Place {
    std::uint64_t pc = 0;
    std::uint64_t stack = 0;
};

/// What the guest point has cost a guest.
struct StopStatistics {
    std::uint64_t stops = 0;
    std::chrono::nanoseconds stopped{}; ///< in all; what a guest does not run, its clocks do not count
    std::chrono::nanoseconds longest{};
};

class Machine {
  public:
    using Work = Task<sys::Result<void>>;
    using Attendant = std::function<Work(Processor, Place)>;

    /// What arrival() gives, to be awaited.
    class Arrival {
      public:
        Arrival(Machine& machine, Place place) : machine_(machine), place_(place) {}
        [[nodiscard]] bool await_ready() const noexcept { return false; }
        [[nodiscard]] bool await_suspend(std::coroutine_handle<> work);
        [[nodiscard]] sys::Result<Processor> await_resume() const;

      private:
        Machine& machine_;
        Place place_;
        sys::Result<void> set_{};
    };

    Machine(gdb::Client debugger, const Architecture& architecture);
    ~Machine();
    Machine(const Machine&) = delete;
    Machine& operator=(const Machine&) = delete;

    [[nodiscard]] gdb::Client& debugger() { return debugger_; }
    [[nodiscard]] const gdb::Client& debugger() const { return debugger_; }
    [[nodiscard]] const Architecture& architecture() const { return architecture_; }
    [[nodiscard]] Processor processor(gdb::ThreadId thread) { return {debugger_, architecture_, thread}; }

    /// From now on whoever comes to `address` is attended to: the work begins while it is stopped there.
    [[nodiscard]] sys::Result<void> attend(std::uint64_t address, Attendant attendant);
    /// Takes all that attend() has set away again.
    [[nodiscard]] sys::Result<void> dismiss();

    /// Attends to one stop, if one comes within `patience`, and has the guest go on. A guest that somebody
    /// has stopped at QEMU's monitor is theirs to resume.
    enum class Turn { idle, attended, ended };
    [[nodiscard]] sys::Result<Turn> turn(std::chrono::milliseconds patience);
    /// Attends to what stopped on `thread`, without having the guest go on.
    [[nodiscard]] sys::Result<void> attend_to(gdb::ThreadId thread);
    [[nodiscard]] sys::Result<void> resume();
    /// Stops the guest, and attends to it if it came to a breakpoint first.
    enum class Halt {
        halted,
        ended,
        theirs ///< somebody has stopped it at QEMU's monitor, which keeps us from it too
    };
    [[nodiscard]] sys::Result<Halt> halt();

    /// Forgets all work that waits: the tasks that it waits for have ended with the kernel they ran in.
    [[nodiscard]] sys::Result<void> forget();

    /// Whether some task is waited for at `pc`.
    [[nodiscard]] bool expects_at(std::uint64_t pc) const;
    [[nodiscard]] const StopStatistics& statistics() const { return statistics_; }

    /// Whether `stopped` runs a process. Whatever its registers say then, the process has made up.
    [[nodiscard]] sys::Result<bool> runs_process(const Processor& stopped) const;

    /// Whether some work waits for the guest.
    [[nodiscard]] bool busy() const { return !works_.empty(); }

    /// For work: waits until the task whose stack pointer is `place.stack` then comes to `place.pc`, and
    /// gives the processor it is on.
    [[nodiscard]] Arrival arrival(Place place) { return {*this, place}; }

  private:
    using Key = std::pair<std::uint64_t, std::uint64_t>; ///< pc, stack

    /// Work that waits, and the whole of which it is a part.
    struct Waiting {
        std::coroutine_handle<> work;
        Work* whole;
    };

    [[nodiscard]] sys::Result<void> expect(Place place, std::coroutine_handle<> work);
    [[nodiscard]] sys::Result<void> add_breakpoint(std::uint64_t address);
    [[nodiscard]] sys::Result<void> drop_breakpoint(std::uint64_t address);
    [[nodiscard]] sys::Result<void> begin(const Attendant& attendant, Processor processor, Place place);
    [[nodiscard]] sys::Result<void> settle_works();
    [[nodiscard]] sys::Result<void> step_off(gdb::ThreadId thread);
    void count_stop();

    gdb::Client debugger_;
    const Architecture& architecture_;
    std::optional<Processor> stopped_; ///< the one that the work which goes on has waited for
    std::optional<std::chrono::steady_clock::time_point>
        stopped_since_; ///< while it stands still for a breakpoint
    StopStatistics statistics_;
    std::map<std::uint64_t, Attendant> attended_;
    std::map<Key, Waiting> expected_;
    std::map<std::uint64_t, std::size_t> breakpoints_; ///< how many want each
    std::list<Work> works_;                            ///< begun and not ended
    Work* running_ = nullptr;                          ///< the one that runs at the moment
    bool theirs_ = false;                              ///< stopped at QEMU's monitor, as far as is known
    bool asked_ = false;                               ///< an interrupt may still be answered
};

} // namespace kmodguard::guest
