// SPDX-License-Identifier: AGPL-3.0-only
#include "enforce/guest/session.hpp"

#include <fmt/format.h>

#include <array>
#include <utility>

namespace kmodguard::guest {
namespace {

using std::chrono::milliseconds;

// A kernel takes several hundred milliseconds from its first instruction at its final place to its first
// process; one that is not there after so long is still being fetched by its boot loader.
constexpr milliseconds often{20};
constexpr milliseconds seldom{200};
constexpr std::chrono::seconds soon{10};
constexpr std::chrono::minutes longest_search{5};
constexpr milliseconds between_searches{500}; ///< of a guest's whole memory
constexpr std::chrono::seconds housekeeping{1};
/// So many looks in a row do not all meet the instructions between a process and its kernel, where QEMU stops
/// often: one stop in five was there in a guest that made one system call after the other.
constexpr int most_hidden = 20;
constexpr std::chrono::seconds longest_unknown{60}; ///< boot loaders of some machines run where kernels do

} // namespace

std::function<void(const std::string&)> Session::in_silence() {
    return [](const std::string&) {};
}

Session::Session(gdb::Client debugger, const Architecture& architecture, std::optional<KnownKernel> kernel,
                 core::Judge& judge, events::Recorder& recorder, Settings settings)
    : machine_(std::move(debugger), architecture), kernel_(std::move(kernel)), settings_(std::move(settings)),
      watch_(machine_, judge, recorder, settings_.watch) {
    machine_.debugger().set_byte_order(architecture.order);
}

sys::Result<void> Session::begin() {
    // Where it was linked to is where it will be, unless it is moved.
    if (kernel_)
        if (auto guarded = guard(0); !guarded) return guarded;
    if (!kernel_)
        settings_.tell("there are no symbols: they are searched for in its memory, and what is loaded before "
                       "they are found is not decided on");
    if (!settings_.from_its_start)
        if (auto looked = look(); !looked) return looked;
    if (!settings_.from_its_start && !found_)
        settings_.tell("its kernel is not to be seen yet: until it is, nothing is decided on");
    return machine_.resume();
}

/// Sets all breakpoints for the kernel at `distance` from where it was linked to.
sys::Result<void> Session::guard(std::uint64_t distance) {
    const Places places = kernel_->places.moved(distance);
    if (auto guarded = watch_.guard(places); !guarded) return guarded;
    guarded_ = distance;
    const auto attend = [this](std::uint64_t address, auto attendant) {
        return machine_.attend(address, [this, attendant](Processor on, Place at) {
            return (this->*attendant)(std::move(on), at);
        });
    };
    // A kernel that moves itself is found by looking, but one that starts where it was linked to, or where it
    // was the last time, says so by itself.
    for (const std::uint64_t start : {kernel_->places.start, places.start})
        if (start != 0)
            if (auto set = attend(start, &Session::attend_start); !set) return set;
    for (const std::uint64_t address : places.restarts)
        if (auto set = attend(address, &Session::attend_restart); !set) return set;
    return {};
}

Machine::Work Session::attend_start(Processor processor, Place place) {
    if (!kernel_) co_return sys::Result<void>{};
    const std::uint64_t distance = place.pc == kernel_->places.start ? 0 : *guarded_;
    const auto kernel = check_kernel(processor, kernel_->places, kernel_->banner, distance);
    if (!kernel) co_return std::unexpected(kernel.error());
    if (!*kernel) co_return sys::Result<void>{}; // some other code that is at the same address
    ended_boot_ = ended_boot_ || found_ || restarting_;
    co_return accept(**kernel);
}

/// Whatever comes next may be anywhere. The kernel that ends here is not to be found again: it loses its
/// banner.
Machine::Work Session::attend_restart(Processor processor, Place) {
    if (!kernel_ || restarting_) co_return sys::Result<void>{};
    if (kernel_->places.banner != 0) {
        const std::array<std::byte, 16> nothing{};
        auto wiped = processor.write(kernel_->places.banner + *guarded_, nothing);
        if (!wiped && wiped.error().kind == sys::ErrorKind::unreachable) co_return wiped;
    }
    lose();
    co_return sys::Result<void>{};
}

/// From now on the guest's kernel is to be found anew.
void Session::lose() {
    restarting_ = true;
    found_ = false;
    hidden_ = 0;
    settings_.from_its_start = true;
    began_ = Clock::now();
    foreign_since_.reset();
    if (kernel_->places.of_this_boot)
        kernel_.reset();
    else if (kernel_->places.banner != 0)
        kernel_->places.fixed = false; // a kernel of other parameters may follow
}

/// Looks for the kernel of a machine that stands still.
sys::Result<void> Session::look() {
    looked_ = Clock::now();
    if (!kernel_) return search();
    const bool starts_here = settings_.from_its_start && kernel_->places.start != 0;
    const auto search = find_kernel(machine_, kernel_->places, kernel_->banner, starts_here);
    if (!search) return std::unexpected(search.error());
    if (!search->kernel) return bear_with(search->some_kernel);
    ended_boot_ = ended_boot_ || restarting_;
    return accept(*search->kernel);
}

/// Looks for the symbols of a kernel in the memory of a machine that stands still. What is found there may be
/// left from before: it counts if a processor runs that kernel.
sys::Result<void> Session::search() {
    if (looked_ - began_ >= longest_search)
        return sys::failure(sys::ErrorKind::failed,
                            "no kernel's symbols were found in the guest's memory for 5 minutes",
                            "give them with --symbols");
    auto found = settings_.search(machine_.debugger());
    if (!found && found.error().kind != sys::ErrorKind::invalid) return std::unexpected(found.error());
    if (!found) return {};
    const auto search = find_kernel(machine_, found->places, found->banner, false);
    if (!search && search.error().kind != sys::ErrorKind::invalid) return std::unexpected(search.error());
    if (!search || !search->kernel) return {};
    kernel_ = std::move(*found);
    guarded_.reset();
    ended_boot_ = ended_boot_ || restarting_;
    return accept(*search->kernel);
}

sys::Result<void> Session::accept(const FoundKernel& kernel) {
    const bool again = std::exchange(found_, true) && !restarting_;
    restarting_ = false;
    foreign_since_.reset();
    const std::string name =
        kernel.banner.empty() ? "a kernel that cannot be checked against the symbols" : kernel.banner;
    const std::string moved = kernel.distance == 0 ? "" : fmt::format(", moved by {:#x}", kernel.distance);
    if (!again || guarded_ != kernel.distance)
        settings_.tell(fmt::format("the guest runs {}{}", name, moved));
    if (guarded_ != kernel.distance) {
        if (auto checked = check_modules(kernel_->places.moved(kernel.distance)); !checked) return checked;
        if (auto guarded = guard(kernel.distance); !guarded) return guarded;
    }
    return settings_.from_its_start || std::exchange(taken_over_, true) ? sys::Result<void>{}
                                                                        : watch_.take_over();
}

/// Notices a guest that has been reset, or has started another kernel, on a way of which no breakpoint tells.
sys::Result<void> Session::check_still_there() {
    looked_ = Clock::now();
    const auto halted = machine_.halt();
    if (!halted) return std::unexpected(halted.error());
    if (*halted != Machine::Halt::halted) return {};
    const auto presence = presence_of(machine_, kernel_->places, *guarded_);
    if (!presence) return std::unexpected(presence.error());
    if (*presence == Presence::there) hidden_ = 0;
    if (*presence == Presence::hidden) ++hidden_;
    if (*presence == Presence::gone || hidden_ == most_hidden) lose();
    return machine_.resume();
}

/// A kernel that is not found is one whose modules are not decided on.
sys::Result<void> Session::bear_with(bool some_kernel) {
    if (!foreign_since_ && !some_kernel) return {};
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
    if (*halted != Machine::Halt::halted) {
        looked_ = Clock::now();
        return {};
    }
    if (auto looked = look(); !looked) return looked;
    return machine_.resume();
}

sys::Result<void> Session::forget_boot() {
    const auto halted = machine_.halt();
    if (!halted) return std::unexpected(halted.error());
    if (*halted != Machine::Halt::halted) return {};
    ended_boot_ = false;
    watch_.finish();
    if (auto forgotten = machine_.forget(); !forgotten) return forgotten;
    return machine_.resume();
}

milliseconds Session::patience() const {
    if (machine_.debugger().has_buffered()) return milliseconds{0};
    if (!kernel_) return between_searches;
    if (found_ && hidden_ > 0) return often;
    if (found_ || kernel_->places.fixed) return housekeeping;
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
    if (ended_boot_)
        if (auto forgotten = forget_boot(); !forgotten) return std::unexpected(forgotten.error());
    if (*turn == Machine::Turn::idle && Clock::now() - looked_ >= patience()) {
        const bool may_move = machine_.architecture().slide_step != 0;
        auto looked = sys::Result<void>{};
        if (!found_)
            looked = look_again();
        else if (may_move && kernel_->places.banner != 0)
            looked = check_still_there();
        if (!looked) return std::unexpected(looked.error());
    }
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
        if (!halted) return std::unexpected(halted.error());
        if (*halted != Machine::Halt::halted) return true;
    }
    return true;
}

sys::Result<void> Session::leave() {
    const auto halted = machine_.halt();
    if (!halted) return std::unexpected(halted.error());
    if (*halted == Machine::Halt::theirs)
        return sys::failure(sys::ErrorKind::failed, "the guest was stopped at the emulator's monitor",
                            "resume it there; its breakpoints stay until kmodctl attaches again and leaves");
    if (*halted == Machine::Halt::ended) return {};
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
