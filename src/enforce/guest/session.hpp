// SPDX-License-Identifier: AGPL-3.0-only
//
// One guest from the moment kmodctl reaches it until one of the two ends: find its kernel, guard it, attend
// to it, leave it.
#pragma once

#include "enforce/guest/slide.hpp"
#include "enforce/guest/watch.hpp"

#include <chrono>
#include <functional>
#include <optional>
#include <string>

namespace kmodguard::guest {

/// What symbols tell of a kernel.
struct KnownKernel {
    Places places;                         ///< as it was linked
    std::optional<symbols::Banner> banner; ///< what it calls itself
};

class Session {
  public:
    /// Tells nobody.
    [[nodiscard]] static std::function<void(const std::string&)> in_silence();

    struct Settings {
        Watch::Settings watch;
        bool from_its_start =
            true; ///< it has not run yet; else it has, and somebody may have guarded it before
        /// Finds the places of the kernel that a halted guest runs, where no symbols were given;
        /// ErrorKind::invalid: it runs none, or not yet.
        std::function<sys::Result<KnownKernel>(gdb::Client&)> search;
        std::function<void(const std::string&)> tell = in_silence(); ///< what people want to know
    };

    /// `judge` and `recorder` must outlive it. `linked` are the places as the symbols have them, and `banner`
    /// what the kernel that they are of calls itself.
    Session(gdb::Client debugger, const Architecture& architecture, std::optional<KnownKernel> kernel,
            core::Judge& judge, events::Recorder& recorder, Settings settings);

    /// Guards the guest, and has it run.
    [[nodiscard]] sys::Result<void> begin();
    /// Attends to what has happened; false if the guest has ended. Call it when fd() is readable, and after
    /// patience() at the latest.
    [[nodiscard]] sys::Result<bool> attend();
    [[nodiscard]] int fd() { return machine_.debugger().fd(); }
    [[nodiscard]] std::chrono::milliseconds patience() const;
    /// Leaves the guest running, with nothing of kmodguard in it. Waits for work that is under way.
    [[nodiscard]] sys::Result<void> leave();
    /// Whether the guest's kernel has been found.
    [[nodiscard]] bool found() const { return found_; }
    [[nodiscard]] const StopStatistics& statistics() const { return machine_.statistics(); }
    [[nodiscard]] std::uint64_t attempts() const { return watch_.attempts(); }

  private:
    using Clock = std::chrono::steady_clock;

    [[nodiscard]] sys::Result<void> guard(std::uint64_t distance);
    Machine::Work attend_start(Processor processor, Place place);
    Machine::Work attend_restart(Processor processor, Place place);
    [[nodiscard]] sys::Result<void> look();
    [[nodiscard]] sys::Result<void> search();
    [[nodiscard]] sys::Result<void> accept(const FoundKernel& kernel);
    [[nodiscard]] sys::Result<void> look_again();
    [[nodiscard]] sys::Result<void> check_still_there();
    void lose();
    [[nodiscard]] sys::Result<void> forget_boot();
    [[nodiscard]] sys::Result<void> bear_with(bool some_kernel);
    [[nodiscard]] sys::Result<void> check_modules(const Places& places);
    [[nodiscard]] sys::Result<bool> attend_until(Clock::time_point end, const std::function<bool()>& done);

    Machine machine_;
    std::optional<KnownKernel> kernel_;
    Settings settings_;
    Watch watch_;
    bool found_ = false;
    std::optional<std::uint64_t> guarded_; ///< how far from where it was linked to the kernel is guarded
    bool restarting_ = false;              ///< one boot has ended, and the kernel of the next is not found
    bool ended_boot_ = false;              ///< what waits is of an earlier boot
    bool taken_over_ = false;
    int hidden_ = 0;                                 ///< looks in a row that found it hidden
    std::optional<Clock::time_point> foreign_since_; ///< a kernel runs, and is not found
    Clock::time_point began_ = Clock::now();
    Clock::time_point looked_ = Clock::now();
};

} // namespace kmodguard::guest
