// SPDX-License-Identifier: AGPL-3.0-only
#include "enforce/guest/machine.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <vector>

namespace kmodguard::guest {

Machine::Machine(gdb::Client debugger, const Architecture& architecture)
    : debugger_(std::move(debugger)), architecture_(architecture) {}

Machine::~Machine() = default;

bool Machine::Arrival::await_suspend(std::coroutine_handle<> work) {
    set_ = machine_.expect(place_, work);
    return set_.has_value();
}

sys::Result<Processor> Machine::Arrival::await_resume() const {
    if (!set_) return std::unexpected(set_.error());
    return *machine_.stopped_;
}

sys::Result<void> Machine::add_breakpoint(std::uint64_t address) {
    if (breakpoints_[address]++ > 0) return {};
    auto set = debugger_.insert_breakpoint(address, architecture_.breakpoint_kind);
    if (!set) breakpoints_.erase(address);
    return set;
}

sys::Result<void> Machine::drop_breakpoint(std::uint64_t address) {
    const auto found = breakpoints_.find(address);
    if (found == breakpoints_.end() || --found->second > 0) return {};
    breakpoints_.erase(found);
    return debugger_.remove_breakpoint(address);
}

sys::Result<void> Machine::attend(std::uint64_t address, Attendant attendant) {
    if (!attended_.contains(address))
        if (auto set = add_breakpoint(address); !set) return set;
    attended_.insert_or_assign(address, std::move(attendant));
    return {};
}

sys::Result<void> Machine::dismiss() {
    const auto all = std::exchange(attended_, {});
    for (const auto& [address, attendant] : all)
        if (auto dropped = drop_breakpoint(address); !dropped) return dropped;
    return {};
}

sys::Result<void> Machine::expect(Place place, std::coroutine_handle<> work) {
    const std::uint64_t mask = architecture_.address_mask();
    if (auto set = add_breakpoint(place.pc & mask); !set) return set;
    const Key key{place.pc & mask, place.stack & mask};
    if (const auto stale = expected_.find(key); stale != expected_.end()) {
        // Its task has died, and another has got its stack: there is nothing to wait for any more.
        works_.remove_if([&](const Work& one) { return &one == stale->second.whole; });
        expected_.erase(stale);
        if (auto dropped = drop_breakpoint(key.first); !dropped) return dropped;
    }
    expected_.emplace(key, Waiting{.work = work, .whole = running_});
    return {};
}

sys::Result<Machine::Turn> Machine::turn(std::chrono::milliseconds patience) {
    const auto stop = debugger_.wait_stop(patience);
    if (!stop) return std::unexpected(stop.error());
    if (!stop->has_value()) return Turn::idle;
    if ((*stop)->kind == gdb::Stop::Kind::exited) return Turn::ended;
    if ((*stop)->signal != gdb::signal_trap) {
        if (std::exchange(asked_, false)) { // it is ours, and late
            if (auto resumed = resume(); !resumed) return std::unexpected(resumed.error());
            return Turn::attended;
        }
        theirs_ = true;
        debugger_.leave_to_others();
        return Turn::attended;
    }
    theirs_ = false;
    if (auto attended = attend_to((*stop)->thread); !attended) return std::unexpected(attended.error());
    if (auto resumed = resume(); !resumed) return std::unexpected(resumed.error());
    return Turn::attended;
}

sys::Result<Machine::Halt> Machine::halt() {
    if (auto asked = debugger_.interrupt(); !asked) return std::unexpected(asked.error());
    constexpr std::chrono::milliseconds patience{5000};
    constexpr std::chrono::milliseconds if_theirs{50}; // QEMU has no answer while its machine is stopped
    const auto stop = debugger_.wait_stop(theirs_ ? if_theirs : patience);
    if (!stop) return std::unexpected(stop.error());
    asked_ = !stop->has_value();
    if (!stop->has_value() && theirs_) return Halt::theirs;
    if (!stop->has_value())
        return sys::failure(sys::ErrorKind::unreachable, "the emulator does not stop its machine",
                            "it may have been stopped itself; the guest is not guarded any more");
    theirs_ = false;
    if ((*stop)->kind == gdb::Stop::Kind::exited) return Halt::ended;
    if ((*stop)->signal != gdb::signal_trap) return Halt::halted;
    if (auto attended = attend_to((*stop)->thread); !attended) return std::unexpected(attended.error());
    return Halt::halted;
}

sys::Result<void> Machine::forget() {
    works_.clear();
    for (const auto& [place, work] : std::exchange(expected_, {}))
        if (auto dropped = drop_breakpoint(place.first); !dropped) return dropped;
    return {};
}

bool Machine::expects_at(std::uint64_t pc) const {
    const auto first = expected_.lower_bound(Key{pc, 0});
    return first != expected_.end() && first->first.first == pc;
}

sys::Result<bool> Machine::runs_process(const Processor& stopped) const {
    const Privilege& privilege = architecture_.privilege;
    const auto where = privilege.where ? privilege.where : debugger_.find_register(privilege.name);
    if (!where)
        return sys::failure(sys::ErrorKind::failed,
                            "the emulator does not tell whether a processor runs the kernel or a process",
                            "another version of QEMU may");
    const auto value = stopped.get(*where);
    if (!value) return std::unexpected(value.error());
    return (*value & privilege.mask) == privilege.user;
}

sys::Result<void> Machine::attend_to(gdb::ThreadId thread) {
    if (!stopped_since_) stopped_since_ = std::chrono::steady_clock::now();
    const Processor stopped = processor(thread);
    std::vector<gdb::Register> wanted; // in one go: most of it is needed later
    std::ranges::copy(architecture_.telling(), std::back_inserter(wanted));
    if (architecture_.privilege.where) wanted.push_back(*architecture_.privilege.where);
    const auto values = stopped.get(wanted);
    if (!values) return std::unexpected(values.error());
    const auto process = runs_process(stopped);
    if (!process) return std::unexpected(process.error());
    if (*process) return step_off(thread); // into the fault that the kernel has for it
    const Place place{.pc = (*values)[0], .stack = (*values)[1]};

    sys::Result<void> done{};
    if (const auto waiting = expected_.find(Key{place.pc, place.stack}); waiting != expected_.end()) {
        const Waiting work = waiting->second;
        expected_.erase(waiting);
        stopped_ = stopped;
        if (done = drop_breakpoint(place.pc); !done) return done;
        running_ = work.whole;
        work.work.resume();
        done = settle_works();
    } else if (const auto found = attended_.find(place.pc); found != attended_.end()) {
        done = begin(found->second, stopped, place);
    }
    if (!done) return done;
    return step_off(thread);
}

sys::Result<void> Machine::begin(const Attendant& attendant, Processor processor, Place place) {
    works_.push_back(attendant(std::move(processor), place));
    running_ = &works_.back();
    running_->start();
    return settle_works();
}

/// Forgets the works that have ended; what one of them could not do is the caller's to know.
sys::Result<void> Machine::settle_works() {
    sys::Result<void> result{};
    for (auto work = works_.begin(); work != works_.end();) {
        if (!work->done()) {
            ++work;
            continue;
        }
        if (!work->result()) result = work->result();
        work = works_.erase(work);
    }
    return result;
}

/// A processor that goes on where a breakpoint is would stop there again. A step does not always take: QEMU
/// now and then says that it is done before the instruction was begun.
sys::Result<void> Machine::step_off(gdb::ThreadId thread) {
    const auto pc = processor(thread).get(architecture_.pc);
    if (!pc) return std::unexpected(pc.error());
    if (!breakpoints_.contains(*pc)) return {};
    constexpr int most_tries = 16;
    for (int tries = 0; tries < most_tries; ++tries) {
        if (const auto stepped = debugger_.step(thread); !stepped) return std::unexpected(stepped.error());
        const auto now = processor(thread).get(architecture_.pc);
        if (!now) return std::unexpected(now.error());
        if (*now != *pc) return {};
    }
    return sys::failure(sys::ErrorKind::failed,
                        fmt::format("the guest does not get off the breakpoint at {:#x}", *pc));
}

sys::Result<void> Machine::resume() {
    auto resumed = debugger_.resume();
    count_stop();
    return resumed;
}

void Machine::count_stop() {
    if (!stopped_since_) return;
    const auto took = std::chrono::steady_clock::now() - *std::exchange(stopped_since_, std::nullopt);
    ++statistics_.stops;
    statistics_.stopped += took;
    statistics_.longest = std::max<std::chrono::nanoseconds>(statistics_.longest, took);
}

} // namespace kmodguard::guest
