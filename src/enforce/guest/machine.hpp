// SPDX-License-Identifier: AGPL-3.0-only
//
// The emulated machine: it is halted, polled for stops, and resumed. It owns all breakpoints of the guest,
// and there are two reasons for one: a hook, an address at which every task is handled (Session says which
// there are), and a task of the guest that some work waits for at an address (arrival()).
//
// Each breakpoint slows the emulator down all the time, not only where a task comes to it. So hooks that no
// task can come to but through another one are set while some task is on its way (set_calls_under_way()). All
// processors stand still while that is changed, so none gets by.
//
// A task of the guest is known from all others by its stack pointer: no two share a stack. It may be put on
// another processor while it is waited for. All of this is for one thread.
#pragma once

#include "enforce/guest/processor.hpp"
#include "enforce/guest/task.hpp"

#include <chrono>
#include <compare>
#include <coroutine>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <optional>

namespace kmodguard::guest {

/// Where a task of the guest is in its kernel.
struct Location {
    std::uint64_t pc = 0;
    std::uint64_t stack = 0;

    auto operator<=>(const Location&) const = default;
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
    /// Begins the work on a task that has come to a hook, while it is stopped there.
    using Handler = std::function<Work(Processor, Location)>;
    /// When tasks may come to a hook.
    enum class When : std::uint8_t { always, during_calls };
    struct Hook {
        Handler handler;
        When when = When::always;
    };
    using Hooks = std::map<std::uint64_t, Hook>; ///< by address

    /// What arrival() gives, to be awaited.
    class Arrival {
      public:
        Arrival(Machine& machine, Location location) : machine_(machine), location_(location) {}
        [[nodiscard]] bool await_ready() const noexcept { return false; }
        [[nodiscard]] bool await_suspend(std::coroutine_handle<> work);
        [[nodiscard]] sys::Result<Processor> await_resume() const;

      private:
        Machine& machine_;
        Location location_;
        sys::Result<void> set_{};
    };

    Machine(gdb::Client debugger, const Architecture& architecture);
    Machine(const Machine&) = delete;
    Machine& operator=(const Machine&) = delete;

    [[nodiscard]] gdb::Client& debugger() { return debugger_; }
    [[nodiscard]] const gdb::Client& debugger() const { return debugger_; }
    [[nodiscard]] const Architecture& architecture() const { return architecture_; }
    [[nodiscard]] Processor processor(gdb::ThreadId thread) { return {debugger_, architecture_, thread}; }

    /// From now on these are all hooks that there are. Needs a halted machine.
    [[nodiscard]] sys::Result<void> set_hooks(Hooks hooks);
    /// Whether the breakpoints of the hooks `during_calls` are needed; not, at first. Needs a halted machine.
    [[nodiscard]] sys::Result<void> set_calls_under_way(bool under_way);

    /// Handles one stop, if one comes within `timeout`, and resumes the guest. A guest that another process
    /// has paused at QEMU's monitor is that one's to resume.
    enum class Polled { idle, handled, ended };
    [[nodiscard]] sys::Result<Polled> poll(std::chrono::milliseconds timeout);
    /// Handles what stopped on `thread`, without resuming the guest.
    [[nodiscard]] sys::Result<void> handle_stop(gdb::ThreadId thread);
    [[nodiscard]] sys::Result<void> resume();
    /// Halts the guest, and handles the stop if it came to a breakpoint first.
    enum class Halt {
        halted,
        ended,
        paused_by_monitor ///< by another process at QEMU's monitor, which keeps us from it too
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

    /// For work: waits until the task whose stack pointer is `location.stack` then comes to `location.pc`,
    /// and gives the processor it is on.
    [[nodiscard]] Arrival arrival(Location location) { return {*this, location}; }

  private:
    /// Work that waits, and the whole of which it is a part.
    struct Waiting {
        std::coroutine_handle<> work;
        Work* whole;
    };

    [[nodiscard]] sys::Result<void> expect(Location location, std::coroutine_handle<> work);
    [[nodiscard]] bool has_breakpoint(const Hooks& hooks, std::uint64_t address) const;
    [[nodiscard]] sys::Result<void> add_breakpoint(std::uint64_t address);
    [[nodiscard]] sys::Result<void> drop_breakpoint(std::uint64_t address);
    [[nodiscard]] sys::Result<void> settle_works();
    [[nodiscard]] sys::Result<void> step_off(gdb::ThreadId thread);

    gdb::Client debugger_;
    const Architecture& architecture_;
    std::optional<Processor> stopped_; ///< the one that the work which goes on has waited for
    std::optional<std::chrono::steady_clock::time_point> stopped_since_; ///< while it is at a breakpoint
    StopStatistics statistics_;
    Hooks hooks_;
    bool calls_under_way_ = false;
    std::map<Location, Waiting> expected_;
    std::map<std::uint64_t, std::size_t> breakpoints_; ///< how many want each
    std::list<Work> works_;                            ///< begun and not ended
    Work* running_ = nullptr;                          ///< the one that runs at the moment
    bool paused_by_monitor_ = false;                   ///< as far as is known
    bool interrupted_ = false;                         ///< our interrupt may still be answered
};

} // namespace kmodguard::guest
