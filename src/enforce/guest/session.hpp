// SPDX-License-Identifier: AGPL-3.0-only
//
// One guest from the moment kmodctl reaches it until one of the two ends: find its kernel, set its hooks,
// poll it, leave it. What is known of its kernel is one of three states; accept() and end_boot() are the
// steps from one to the next:
//
//      no symbols given                     symbols given
//             |                                   |
//             v                                   v
//      SearchingSymbols                    SearchingKernel
//      in the guest's memory               a processor runs it?
//             |                                   |
//             +---------> KernelRuns <------------+
//         both found            |        found: by looking, or at its start
//                               |
//                               v   the guest restarts, or is reset
//                  SearchingSymbols or SearchingKernel
//                  (whether the symbols may be of the next boot, too)
//
// Session owns the choice of hooks: the watch says which it needs for a kernel, and here those are added that
// show a boot's beginning and end. The machine owns the breakpoints. All of it is for one thread.
#pragma once

#include "enforce/guest/find_kernel.hpp"
#include "enforce/guest/watch.hpp"

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <variant>

namespace kmodguard::guest {

/// What symbols say of a kernel.
struct KnownKernel {
    KernelAddresses addresses;             ///< as it was linked
    std::optional<symbols::Banner> banner; ///< what it calls itself
};

class Session {
  public:
    /// Which boot of the guest it is whose kernel is searched for.
    enum class Boot : std::uint8_t {
        first,    ///< the guest has not run yet
        attached, ///< it has, and an earlier kmodctl may have left tasks in the middle of injected calls
        next      ///< one that was watched has ended
    };

    struct Setup {
        Watch::Hashing watch;
        Boot boot = Boot::first; ///< not `next`
        /// Finds the addresses of the kernel that a halted guest runs, where no symbols were given; nullopt:
        /// it runs none, or not yet.
        std::function<sys::Result<std::optional<KnownKernel>>(gdb::Client&)> search_memory;
        std::function<void(const std::string&)> report; ///< messages for people
    };

    /// `judge` and `recorder` must outlive it. No `kernel`: its symbols are searched for in the guest.
    Session(gdb::Client debugger, const Architecture& architecture, std::optional<KnownKernel> kernel,
            core::Judge& judge, events::Recorder& recorder, Setup setup);

    /// Sets the hooks, and has the guest run.
    [[nodiscard]] sys::Result<void> begin();
    /// Handles what has happened; false if the guest has ended. Call it when fd() is readable, and after
    /// timeout() at the latest.
    [[nodiscard]] sys::Result<bool> poll();
    [[nodiscard]] int fd() { return machine_.debugger().fd(); }
    [[nodiscard]] std::chrono::milliseconds timeout() const;
    /// Leaves the guest running, with nothing of kmodguard in it. Waits for work that is under way.
    [[nodiscard]] sys::Result<void> leave();
    /// Whether the guest's kernel has been found.
    [[nodiscard]] bool found() const;
    [[nodiscard]] const StopStatistics& statistics() const { return machine_.statistics(); }
    [[nodiscard]] std::uint64_t attempts() const { return watch_.attempts(); }

  private:
    using Clock = std::chrono::steady_clock;

    /// A kernel whose symbols are known, and the KASLR offset for which the hooks are set.
    struct HookedKernel {
        KnownKernel known;
        std::uint64_t offset = 0;
    };
    /// The kernel's symbols are searched for in the guest's memory.
    struct SearchingSymbols {
        Boot boot = Boot::first;
        Clock::time_point since;
    };
    /// No processor was seen to run the kernel. It is hooked where it may begin.
    struct SearchingKernel {
        Boot boot = Boot::first;
        HookedKernel kernel;
        Clock::time_point since;
        std::optional<Clock::time_point> unknown_since; ///< the guest runs what may be another kernel
    };
    /// The kernel is at its KASLR offset, and every load is decided on.
    struct KernelRuns {
        HookedKernel kernel;
        int hidden_looks = 0;      ///< in a row
        bool earlier_work = false; ///< some work may wait for tasks of an earlier boot
        Watch::Unseen unseen = Watch::Unseen::nothing;
    };
    using State = std::variant<SearchingSymbols, SearchingKernel, KernelRuns>;

    /// nullptr while its symbols are searched for.
    [[nodiscard]] HookedKernel* kernel();
    [[nodiscard]] Boot boot() const;

    [[nodiscard]] sys::Result<void> set_hooks(const HookedKernel& kernel, Watch::Unseen unseen);
    Machine::Work on_start(Processor processor, Location location);
    Machine::Work on_restart(Processor processor, Location location);
    [[nodiscard]] sys::Result<void> look();
    [[nodiscard]] sys::Result<void> search_symbols(const SearchingSymbols& state);
    [[nodiscard]] sys::Result<void> search_kernel(SearchingKernel& state);
    [[nodiscard]] sys::Result<void> check_presence(KernelRuns& state);
    enum class Found : std::uint8_t { by_looking, at_its_start };
    /// `known`: where its symbols were found with it.
    [[nodiscard]] sys::Result<void> accept(const FoundKernel& found, Found how,
                                           std::optional<KnownKernel> known = {});
    [[nodiscard]] sys::Result<void> end_boot(Clock::time_point when);
    [[nodiscard]] sys::Result<void> report_modules_before(const KernelAddresses& addresses);
    [[nodiscard]] sys::Result<void> look_again();
    [[nodiscard]] bool has_earlier_work() const;
    [[nodiscard]] sys::Result<void> forget_earlier_work();
    [[nodiscard]] sys::Result<bool> poll_until(Clock::time_point end, const std::function<bool()>& done);

    Machine machine_;
    Setup setup_;
    Watch watch_;
    State state_;
    Clock::time_point looked_ = Clock::now(); ///< when the state was last compared with the guest
};

} // namespace kmodguard::guest
