// SPDX-License-Identifier: AGPL-3.0-only
#include "enforce/guest/session.hpp"

#include <fmt/format.h>

#include <utility>

namespace kmodguard::guest {
namespace {

using std::chrono::milliseconds;

// A kernel takes several hundred milliseconds from its first instruction at its final place to its first
// process; one that is not there after so long is still being fetched by its boot loader.
constexpr milliseconds often{20};
constexpr milliseconds seldom{200};
constexpr std::chrono::seconds soon{10};
constexpr std::chrono::seconds housekeeping{1};
constexpr std::chrono::seconds longest_unknown{60}; ///< boot loaders of some machines run where kernels do

} // namespace

Session::Session(Debugger debugger, const Architecture& architecture, Places linked,
                 std::optional<Banner> banner, core::Judge& judge, events::Recorder& recorder,
                 Settings settings)
    : machine_(std::move(debugger), architecture), linked_(std::move(linked)), banner_(std::move(banner)),
      settings_(std::move(settings)), watch_(machine_, judge, recorder, settings_.watch) {
    machine_.debugger().set_byte_order(architecture.order);
}

sys::Result<void> Session::begin() {
    // Where it was linked to is where it will be, unless it is moved.
    if (auto guarded = guard(linked_); !guarded) return guarded;
    if (!settings_.from_its_start) {
        if (auto looked = look(); !looked) return looked;
        if (auto taken = watch_.take_over(); !taken) return taken;
    }
    return machine_.resume();
}

sys::Result<void> Session::guard(const Places& places) {
    if (auto guarded = watch_.guard(places); !guarded) return guarded;
    // A kernel that moves itself anew at every boot is found by looking, but one that starts where it was
    // linked to says so by itself.
    const auto attend = [this](std::uint64_t address, auto attendant) {
        return machine_.attend(
            address, [this, attendant](Processor on, Place at) { return (this->*attendant)(on, at); });
    };
    if (linked_.start != 0)
        if (auto set = attend(linked_.start, &Session::attend_start); !set) return set;
    for (const std::uint64_t address : places.restarts)
        if (auto set = attend(address, &Session::attend_restart); !set) return set;
    return {};
}

Machine::Work Session::attend_start(Processor processor, Place) {
    const auto kernel = check_kernel(processor, linked_, banner_);
    if (!kernel) co_return std::unexpected(kernel.error());
    restarted_ = restarted_ || found_;
    co_return accept(*kernel);
}

/// Whatever comes next may be anywhere again.
Machine::Work Session::attend_restart(Processor, Place) {
    if (linked_.of_this_boot)
        co_return sys::failure(sys::ErrorKind::failed,
                               "the guest restarts, and where its kernel will be then is not known",
                               "give its symbols with --symbols, or attach to it again when it runs");
    restarted_ = true;
    found_ = false;
    began_ = Clock::now();
    foreign_since_.reset();
    co_return sys::Result<void>{};
}

/// Looks for the kernel of a machine that stands still.
sys::Result<void> Session::look() {
    looked_ = Clock::now();
    const bool starts_here = settings_.from_its_start && linked_.start != 0;
    const auto search = find_kernel(machine_, linked_, banner_, starts_here);
    if (!search) return std::unexpected(search.error());
    if (!search->kernel) return bear_with(search->some_kernel);
    return accept(*search->kernel);
}

sys::Result<void> Session::accept(const FoundKernel& kernel) {
    found_ = true;
    const std::string name =
        kernel.banner.empty() ? "a kernel that cannot be checked against the symbols" : kernel.banner;
    const std::uint64_t before = std::exchange(distance_, kernel.distance);
    const std::string moved = kernel.distance == 0 ? "" : fmt::format(", moved by {:#x}", kernel.distance);
    settings_.tell(fmt::format("the guest runs {}{}", name, moved));
    if (kernel.distance == before) return {};
    const Places places = linked_.moved(kernel.distance);
    if (auto checked = check_modules(places); !checked) return checked;
    return guard(places);
}

/// A kernel that is not found is one whose modules are not decided on.
sys::Result<void> Session::bear_with(bool some_kernel) {
    if (!some_kernel) {
        foreign_since_.reset();
        return {};
    }
    if (!foreign_since_) foreign_since_ = looked_;
    if (looked_ - *foreign_since_ < longest_unknown) return {};
    return sys::failure(
        sys::ErrorKind::failed,
        fmt::format("the guest has run for {} s what may be a kernel, and is not the one that the "
                    "symbols are of",
                    longest_unknown.count()),
        "nothing would be decided; give the symbols of its kernel with --symbols");
}

/// Until it was found, a moved kernel was not guarded.
sys::Result<void> Session::check_modules(const Places& places) {
    if (!settings_.from_its_start || places.modules == 0) return {};
    const auto threads = machine_.debugger().threads();
    if (!threads) return std::unexpected(threads.error());
    const auto first = machine_.processor(threads->front()).read_words(places.modules, 1);
    if (first && first->front() != 0 && first->front() != places.modules)
        settings_.tell(
            "modules were loaded before its kernel was found, and not decided on; with \"nokaslr\" on "
            "its command line there is nothing to find");
    return {};
}

sys::Result<void> Session::look_again() {
    const auto halted = machine_.halt();
    if (!halted) return std::unexpected(halted.error());
    if (!*halted) return {};
    if (auto looked = look(); !looked) return looked;
    return machine_.resume();
}

sys::Result<void> Session::forget_boot() {
    restarted_ = false;
    const auto halted = machine_.halt();
    if (!halted) return std::unexpected(halted.error());
    if (!*halted) return {};
    watch_.finish();
    if (auto forgotten = machine_.forget(); !forgotten) return forgotten;
    return machine_.resume();
}

milliseconds Session::patience() const {
    if (found_ || linked_.fixed) return housekeeping;
    return Clock::now() - began_ < soon ? often : seldom;
}

sys::Result<bool> Session::attend() {
    watch_.record_unanswered();
    const auto turn = machine_.turn(milliseconds{0});
    if (!turn) return std::unexpected(turn.error());
    if (*turn == Machine::Turn::ended) {
        watch_.finish();
        return false;
    }
    if (restarted_)
        if (auto forgotten = forget_boot(); !forgotten) return std::unexpected(forgotten.error());
    if (*turn == Machine::Turn::idle && !found_ && Clock::now() - looked_ >= patience())
        if (auto looked = look_again(); !looked) return std::unexpected(looked.error());
    return true;
}

/// Attends to the guest until `done`; false if that was not before `end`.
sys::Result<bool> Session::attend_until(Clock::time_point end, const std::function<bool()>& done) {
    while (!done()) {
        const auto left = std::chrono::ceil<milliseconds>(end - Clock::now());
        if (left <= milliseconds{0}) return false;
        if (auto resumed = machine_.resume(); !resumed) return std::unexpected(resumed.error());
        const auto turn = machine_.turn(std::min(left, often));
        if (!turn) return std::unexpected(turn.error());
        if (*turn == Machine::Turn::ended) return true;
        const auto halted = machine_.halt();
        if (!halted || !*halted) return halted;
    }
    return true;
}

sys::Result<void> Session::leave() {
    const auto halted = machine_.halt();
    if (!halted) return std::unexpected(halted.error());
    if (!*halted) return {};
    // A task in a call that was made in its name must come back from it. A load that has not returned yet
    // needs nothing of us any more.
    constexpr std::chrono::seconds for_loads{1};
    constexpr std::chrono::seconds for_calls{10};
    if (const auto idle = attend_until(Clock::now() + for_loads, [this] { return !machine_.busy(); }); !idle)
        return std::unexpected(idle.error());
    const auto returned = attend_until(Clock::now() + for_calls, [this] { return !watch_.calling(); });
    if (!returned) return std::unexpected(returned.error());
    watch_.finish();
    if (!*returned)
        return sys::failure(sys::ErrorKind::failed, "the guest does not come back from a call of its kernel",
                            "it is left as it is: attach again with --gdb");
    return machine_.debugger().detach();
}

} // namespace kmodguard::guest
