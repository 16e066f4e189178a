// SPDX-License-Identifier: AGPL-3.0-only
#include "enforce/guest/session.hpp"

#include <fmt/format.h>

#include <array>
#include <utility>

namespace kmodguard::guest {
namespace {

using std::chrono::milliseconds;

// A kernel takes several hundred milliseconds from its first instruction at its final address to its first
// process; one that is not there after so long is still being fetched by its boot loader.
constexpr milliseconds often{20};
constexpr milliseconds seldom{200};
constexpr std::chrono::seconds soon{10};
constexpr std::chrono::minutes search_timeout{5};
constexpr milliseconds between_searches{500}; ///< of a guest's whole memory
constexpr std::chrono::seconds between_checks{1};
/// So many looks in a row do not all meet the instructions between a process and its kernel, where QEMU stops
/// often: one stop in five was there in a guest that made one system call after the other.
constexpr int max_hidden_looks = 20;
constexpr std::chrono::seconds unknown_kernel_timeout{60}; ///< some boot loaders run where kernels do

} // namespace

Session::Session(gdb::Client debugger, const Architecture& architecture, std::optional<KnownKernel> kernel,
                 core::Judge& judge, events::Recorder& recorder, Setup setup)
    : machine_(std::move(debugger), architecture), setup_(std::move(setup)),
      watch_(machine_, judge, recorder, setup_.watch),
      state_(kernel ? State(SearchingKernel{.boot = setup_.boot,
                                            .kernel = {.known = std::move(*kernel)},
                                            .since = Clock::now(),
                                            .unknown_since = std::nullopt})
                    : State(SearchingSymbols{.boot = setup_.boot, .since = Clock::now()})) {
    machine_.debugger().set_byte_order(architecture.order);
    if (!setup_.report) setup_.report = [](const std::string&) {};
}

Session::HookedKernel* Session::kernel() {
    if (auto* searching = std::get_if<SearchingKernel>(&state_)) return &searching->kernel;
    if (auto* runs = std::get_if<KernelRuns>(&state_)) return &runs->kernel;
    return nullptr;
}

/// Whose kernel is searched for; where it runs, the one after it.
Session::Boot Session::boot() const {
    if (const auto* searching = std::get_if<SearchingSymbols>(&state_)) return searching->boot;
    if (const auto* searching = std::get_if<SearchingKernel>(&state_)) return searching->boot;
    return Boot::next;
}

bool Session::found() const {
    return std::holds_alternative<KernelRuns>(state_);
}

// --- finding the kernel

sys::Result<void> Session::begin() {
    // Where it was linked to is where it will be, unless it is moved.
    if (kernel() != nullptr)
        TRY(set_hooks(*kernel(),
                      setup_.boot == Boot::attached ? Watch::Unseen::injected : Watch::Unseen::nothing));
    else
        setup_.report("there are no symbols: they are searched for in its memory, and what is loaded before "
                      "they are found is not decided on");
    if (setup_.boot == Boot::attached) {
        TRY(look());
        if (!found()) setup_.report("its kernel is not to be seen yet: until it is, nothing is decided on");
    }
    return machine_.resume();
}

sys::Result<void> Session::set_hooks(const HookedKernel& kernel, Watch::Unseen unseen) {
    const KernelAddresses addresses = kernel.known.addresses.moved(kernel.offset);
    Machine::Hooks hooks = watch_.hooks_for(addresses, unseen);
    // A kernel that moves itself is found by looking, but one that starts where it was linked to, or where it
    // was the last time, says so by itself. While one runs there, its start tells that it was reset: then the
    // hooks are right as they are, and only what is under way is to be forgotten.
    const auto when = found() ? Machine::When::during_calls : Machine::When::always;
    for (const std::uint64_t start : {kernel.known.addresses.start, addresses.start})
        if (start != 0)
            hooks.emplace(
                start, Machine::Hook{.handler = [this](Processor on,
                                                       Location at) { return on_start(std::move(on), at); },
                                     .when = when});
    for (const std::uint64_t address : addresses.restarts)
        hooks.emplace(address, Machine::Hook{[this](Processor on, Location at) {
                          return on_restart(std::move(on), at);
                      }});
    return machine_.set_hooks(std::move(hooks));
}

Machine::Work Session::on_start(Processor processor, Location location) {
    const HookedKernel* hooked = kernel();
    if (hooked == nullptr) co_return sys::Result<void>{};
    const KernelAddresses& linked = hooked->known.addresses;
    const std::uint64_t offset = location.pc == linked.start ? 0 : hooked->offset;
    const auto found = co_await or_end(kernel_at(processor, linked, offset));
    if (!found) co_return sys::Result<void>{}; // some other code that is at the same address
    co_return accept(*found, Found::at_its_start);
}

/// Whatever comes next may be anywhere. The kernel that ends here is not to be found again: it loses its
/// banner.
Machine::Work Session::on_restart(Processor processor, Location) {
    const HookedKernel* hooked = kernel();
    if (hooked == nullptr || (!found() && boot() == Boot::next)) co_return sys::Result<void>{};
    if (const std::uint64_t banner = hooked->known.addresses.banner; banner != 0) {
        const std::array<std::byte, 16> nothing{};
        static_cast<void>(co_await unless_lost(processor.write(banner + hooked->offset, nothing)));
    }
    co_return end_boot(Clock::now());
}

sys::Result<void> Session::end_boot(Clock::time_point when) {
    if (kernel() == nullptr || (!found() && boot() == Boot::next)) return {};
    // It may have a few instructions left.
    const auto* runs = std::get_if<KernelRuns>(&state_);
    const Watch::Unseen unseen = runs != nullptr ? runs->unseen : Watch::Unseen::injected;
    HookedKernel ended = std::move(*kernel());
    KernelAddresses& addresses = ended.known.addresses;
    if (addresses.banner != 0) addresses.fixed = false; // a kernel of other parameters may follow
    if (addresses.of_this_boot) {
        state_ = SearchingSymbols{.boot = Boot::next, .since = when};
        return {};
    }
    state_ = SearchingKernel{
        .boot = Boot::next, .kernel = std::move(ended), .since = when, .unknown_since = std::nullopt};
    return set_hooks(*kernel(), unseen);
}

/// Compares the state with the guest, which is halted.
sys::Result<void> Session::look() {
    looked_ = Clock::now();
    if (const auto* searching = std::get_if<SearchingSymbols>(&state_)) return search_symbols(*searching);
    if (auto* searching = std::get_if<SearchingKernel>(&state_)) return search_kernel(*searching);
    return check_presence(std::get<KernelRuns>(state_));
}

/// What is found in memory may be left from before: it counts if a processor runs that kernel.
sys::Result<void> Session::search_symbols(const SearchingSymbols& state) {
    if (looked_ - state.since >= search_timeout)
        return sys::failure(sys::ErrorKind::failed,
                            "no kernel's symbols were found in the guest's memory for 5 minutes",
                            "give them with --symbols");
    auto known = TRY(setup_.search_memory(machine_.debugger()));
    if (!known) return {};
    const auto search = TRY(find_kernel(machine_, known->addresses, false));
    if (!search.kernel || !is_kernel_of(*search.kernel, known->banner)) return {};
    return accept(*search.kernel, Found::by_looking, std::move(known));
}

sys::Result<void> Session::search_kernel(SearchingKernel& state) {
    const KnownKernel& known = state.kernel.known;
    const bool starts_here = state.boot != Boot::attached && known.addresses.start != 0;
    const auto search = TRY(find_kernel(machine_, known.addresses, starts_here));
    if (search.kernel) return accept(*search.kernel, Found::by_looking);
    // A kernel that is not found is one whose modules are not decided on.
    if (search.some_kernel && !state.unknown_since) state.unknown_since = looked_;
    if (!state.unknown_since || looked_ - *state.unknown_since < unknown_kernel_timeout) return {};
    return sys::failure(
        sys::ErrorKind::failed,
        fmt::format("the guest has run for {} s what may be a kernel, and is not the one that the "
                    "symbols are of",
                    unknown_kernel_timeout.count()),
        "nothing would be decided; give the symbols of its kernel with --symbols");
}

/// Notices a guest that has been reset, or has started another kernel, on a way that passes no hook.
sys::Result<void> Session::check_presence(KernelRuns& state) {
    const Presence presence = TRY(presence_of(machine_, state.kernel.known.addresses, state.kernel.offset));
    if (presence == Presence::there) state.hidden_looks = 0;
    if (presence == Presence::hidden) ++state.hidden_looks;
    if (presence == Presence::gone || state.hidden_looks == max_hidden_looks) return end_boot(looked_);
    return {};
}

sys::Result<void> Session::accept(const FoundKernel& found, Found how, std::optional<KnownKernel> known) {
    if (!known) known = kernel()->known;
    if (!is_kernel_of(found, known->banner)) return std::unexpected(other_kernel(found, *known->banner));
    const Boot found_boot = boot();
    const bool is_hooked = kernel() != nullptr && kernel()->offset == found.kaslr_offset;
    if (!is_hooked || !this->found())
        setup_.report(fmt::format(
            "the guest runs {}{}",
            found.banner.empty() ? "a kernel that cannot be checked against the symbols" : found.banner,
            found.kaslr_offset == 0 ? "" : fmt::format(", moved by {:#x}", found.kaslr_offset)));
    // A kernel that is found again by looking may be one that has never ended.
    const bool is_new = how == Found::at_its_start || found_boot == Boot::first;
    const Watch::Unseen unseen =
        found_boot == Boot::attached || !is_new ? Watch::Unseen::injected : Watch::Unseen::nothing;
    // A kernel that runs and begins again has had an end that was not seen.
    state_ = KernelRuns{.kernel = {.known = std::move(*known), .offset = found.kaslr_offset},
                        .earlier_work = found_boot == Boot::next,
                        .unseen = unseen};
    if (!is_hooked && found_boot != Boot::attached)
        TRY(report_modules_before(kernel()->known.addresses.moved(found.kaslr_offset)));
    TRY(set_hooks(*kernel(), unseen));
    return found_boot == Boot::attached ? watch_.take_over() : sys::Result<void>{};
}

/// Until it was found, a moved kernel had no hooks.
sys::Result<void> Session::report_modules_before(const KernelAddresses& addresses) {
    if (addresses.modules == 0) return {};
    const auto threads = TRY(machine_.debugger().threads());
    const auto first = machine_.processor(threads.front()).read_words(addresses.modules, 1);
    if (first && first->front() != 0 && first->front() != addresses.modules)
        setup_.report(
            "modules were loaded before its kernel was found, and not decided on; with \"nokaslr\" on "
            "its command line there is nothing to find");
    return {};
}

sys::Result<void> Session::look_again() {
    looked_ = Clock::now();
    if (const auto* runs = std::get_if<KernelRuns>(&state_))
        if (machine_.architecture().kaslr_step == 0 || runs->kernel.known.addresses.banner == 0) return {};
    const auto halted = TRY(machine_.halt());
    if (halted != Machine::Halt::halted) return {};
    TRY(look());
    TRY(forget_earlier_work()); // before a task of this boot can make a call
    return machine_.resume();
}

bool Session::has_earlier_work() const {
    const auto* runs = std::get_if<KernelRuns>(&state_);
    return runs != nullptr && runs->earlier_work;
}

/// Needs a halted machine, and no work that goes on at the moment.
sys::Result<void> Session::forget_earlier_work() {
    if (!has_earlier_work()) return {};
    std::get<KernelRuns>(state_).earlier_work = false;
    return watch_.forget();
}

// --- its life

milliseconds Session::timeout() const {
    if (machine_.debugger().has_buffered()) return milliseconds{0};
    if (std::holds_alternative<SearchingSymbols>(state_)) return between_searches;
    if (const auto* runs = std::get_if<KernelRuns>(&state_))
        return runs->hidden_looks > 0 ? often : between_checks;
    const auto& searching = std::get<SearchingKernel>(state_);
    if (searching.kernel.known.addresses.fixed) return between_checks;
    return Clock::now() - searching.since < soon ? often : seldom;
}

sys::Result<bool> Session::poll() {
    watch_.record_unanswered();
    const auto polled = TRY(machine_.poll(milliseconds{0}));
    if (polled == Machine::Polled::ended) {
        watch_.finish();
        return false;
    }
    if (has_earlier_work()) {
        const auto halted = TRY(machine_.halt()); // which may end this boot, too
        if (halted == Machine::Halt::halted) {
            TRY(forget_earlier_work());
            TRY(machine_.resume());
        }
    }
    if (polled == Machine::Polled::idle && Clock::now() - looked_ >= timeout()) TRY(look_again());
    return true;
}

/// Polls the guest until `done`; false if that was not before `end`.
sys::Result<bool> Session::poll_until(Clock::time_point end, const std::function<bool()>& done) {
    while (!done()) {
        const auto left = std::chrono::ceil<milliseconds>(end - Clock::now());
        if (left <= milliseconds{0}) return false;
        TRY(machine_.resume());
        const auto polled = TRY(machine_.poll(std::min(left, often)));
        if (polled == Machine::Polled::ended) return true;
        const auto halted = TRY(machine_.halt());
        if (halted != Machine::Halt::halted) return true;
    }
    return true;
}

sys::Result<void> Session::leave() {
    const auto halted = TRY(machine_.halt());
    if (halted == Machine::Halt::paused_by_monitor)
        return sys::failure(sys::ErrorKind::failed, "the guest was stopped at the emulator's monitor",
                            "resume it there; its breakpoints stay until kmodctl attaches again and leaves");
    if (halted == Machine::Halt::ended) return {};
    // A task in an injected call must come back from it. A load that has not returned yet needs nothing of us
    // any more.
    constexpr std::chrono::seconds for_loads{1};
    constexpr std::chrono::seconds for_calls{10};
    TRY(poll_until(Clock::now() + for_loads, [this] { return !machine_.busy(); }));
    const bool returned = TRY(poll_until(Clock::now() + for_calls, [this] { return !watch_.is_calling(); }));
    watch_.finish();
    if (!returned)
        return sys::failure(sys::ErrorKind::failed, "the guest does not come back from a call of its kernel",
                            "it is left as it is: attach again with --gdb");
    return machine_.debugger().detach();
}

} // namespace kmodguard::guest
