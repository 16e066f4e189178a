// SPDX-License-Identifier: AGPL-3.0-only
#include "enforce/guest/machine.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>
#include <vector>

namespace kmodguard::guest {

Machine::Machine(gdb::Client debugger, const Architecture& architecture)
    : debugger_(std::move(debugger)), architecture_(architecture) {}

bool Machine::Arrival::await_suspend(std::coroutine_handle<> work) {
    set_ = machine_.expect(location_, work);
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

/// Whether one of `hooks` is at `address`, and needs its breakpoint now.
bool Machine::has_breakpoint(const Hooks& hooks, std::uint64_t address) const {
    const auto hook = hooks.find(address);
    return hook != hooks.end() && (hook->second.when == When::always || calls_under_way_);
}

sys::Result<void> Machine::set_hooks(Hooks hooks) {
    for (const auto& [address, hook] : hooks)
        if (has_breakpoint(hooks, address) && !has_breakpoint(hooks_, address)) TRY(add_breakpoint(address));
    const Hooks before = std::exchange(hooks_, std::move(hooks));
    for (const auto& [address, hook] : before)
        if (has_breakpoint(before, address) && !has_breakpoint(hooks_, address))
            TRY(drop_breakpoint(address));
    return {};
}

sys::Result<void> Machine::set_calls_under_way(bool under_way) {
    if (std::exchange(calls_under_way_, under_way) == under_way) return {};
    for (const auto& [address, hook] : hooks_) {
        if (hook.when == When::always) continue;
        TRY(under_way ? add_breakpoint(address) : drop_breakpoint(address));
    }
    return {};
}

sys::Result<void> Machine::expect(Location location, std::coroutine_handle<> work) {
    const std::uint64_t mask = architecture_.address_mask();
    const Location key{.pc = location.pc & mask, .stack = location.stack & mask};
    TRY(add_breakpoint(key.pc));
    if (const auto stale = expected_.find(key); stale != expected_.end()) {
        // Its task has died, and another has got its stack: there is nothing to wait for any more.
        works_.remove_if([&](const Work& one) { return &one == stale->second.whole; });
        expected_.erase(stale);
        TRY(drop_breakpoint(key.pc));
    }
    expected_.emplace(key, Waiting{.work = work, .whole = running_});
    return {};
}

sys::Result<Machine::Polled> Machine::poll(std::chrono::milliseconds timeout) {
    const auto stop = TRY(debugger_.wait_stop(timeout));
    if (!stop) return Polled::idle;
    if (stop->kind == gdb::Stop::Kind::exited) return Polled::ended;
    if (stop->signal != gdb::signal_trap && !std::exchange(interrupted_, false)) {
        paused_by_monitor_ = true;
        debugger_.leave_to_others();
        return Polled::handled;
    }
    if (stop->signal == gdb::signal_trap) { // else it is our interrupt, answered late
        paused_by_monitor_ = false;
        TRY(handle_stop(stop->thread));
    }
    TRY(resume());
    return Polled::handled;
}

sys::Result<Machine::Halt> Machine::halt() {
    TRY(debugger_.interrupt());
    constexpr std::chrono::milliseconds timeout{5000};
    constexpr std::chrono::milliseconds if_paused{50}; // QEMU has no answer while its machine is stopped
    const auto stop = TRY(debugger_.wait_stop(paused_by_monitor_ ? if_paused : timeout));
    interrupted_ = !stop;
    if (!stop && paused_by_monitor_) return Halt::paused_by_monitor;
    if (!stop)
        return sys::failure(sys::ErrorKind::unreachable, "the emulator does not stop its machine",
                            "it may have been stopped itself; the guest is not guarded any more");
    paused_by_monitor_ = false;
    if (stop->kind == gdb::Stop::Kind::exited) return Halt::ended;
    if (stop->signal == gdb::signal_trap) TRY(handle_stop(stop->thread));
    return Halt::halted;
}

sys::Result<void> Machine::forget() {
    works_.clear();
    for (const auto& [key, work] : std::exchange(expected_, {}))
        TRY(drop_breakpoint(key.pc));
    return {};
}

bool Machine::expects_at(std::uint64_t pc) const {
    const auto first = expected_.lower_bound({.pc = pc});
    return first != expected_.end() && first->first.pc == pc;
}

sys::Result<bool> Machine::runs_process(const Processor& stopped) const {
    const Privilege& privilege = architecture_.privilege;
    const auto where = privilege.where ? privilege.where : debugger_.find_register(privilege.name);
    if (!where)
        return sys::failure(sys::ErrorKind::failed,
                            "the emulator does not tell whether a processor runs the kernel or a process",
                            "another version of QEMU may");
    const auto value = TRY(stopped.get(*where));
    return (value & privilege.mask) == privilege.user;
}

sys::Result<void> Machine::handle_stop(gdb::ThreadId thread) {
    if (!stopped_since_) stopped_since_ = std::chrono::steady_clock::now();
    const Processor stopped = processor(thread);
    std::vector<gdb::Register> wanted; // in one go: most of it is needed later
    std::ranges::copy(architecture_.stop_registers(), std::back_inserter(wanted));
    if (architecture_.privilege.where) wanted.push_back(*architecture_.privilege.where);
    const auto values = TRY(stopped.get(wanted));
    const bool in_process = TRY(runs_process(stopped));
    if (in_process) return step_off(thread); // into the fault that the kernel has for it
    const Location location{.pc = values[0], .stack = values[1]};

    if (const auto waiting = expected_.find(location); waiting != expected_.end()) {
        const auto [work, whole] = waiting->second;
        expected_.erase(waiting);
        stopped_ = stopped;
        TRY(drop_breakpoint(location.pc));
        running_ = whole;
        work.resume();
    } else if (const auto hook = hooks_.find(location.pc); hook != hooks_.end()) {
        works_.push_back(hook->second.handler(stopped, location));
        running_ = &works_.back();
        running_->start();
    }
    TRY(settle_works());
    return step_off(thread);
}

/// Forgets the works that have ended; what one of them could not do is the caller's to know.
sys::Result<void> Machine::settle_works() {
    sys::Result<void> result{};
    works_.remove_if([&result](const Work& work) {
        if (work.done() && !work.result()) result = work.result();
        return work.done();
    });
    return result;
}

/// A processor that goes on where a breakpoint is would stop there again. A step does not always take: QEMU
/// now and then says that it is done before the instruction was begun.
sys::Result<void> Machine::step_off(gdb::ThreadId thread) {
    const auto pc = TRY(processor(thread).get(architecture_.pc));
    if (!breakpoints_.contains(pc)) return {};
    constexpr int max_tries = 16;
    for (int tries = 0; tries < max_tries; ++tries) {
        TRY(debugger_.step(thread));
        const auto now = TRY(processor(thread).get(architecture_.pc));
        if (now != pc) return {};
    }
    return sys::failure(sys::ErrorKind::failed,
                        fmt::format("the guest does not get off the breakpoint at {:#x}", pc));
}

sys::Result<void> Machine::resume() {
    auto resumed = debugger_.resume();
    if (!stopped_since_) return resumed;
    const auto took = std::chrono::steady_clock::now() - *std::exchange(stopped_since_, std::nullopt);
    ++statistics_.stops;
    statistics_.stopped += took;
    statistics_.longest = std::max<std::chrono::nanoseconds>(statistics_.longest, took);
    return resumed;
}

} // namespace kmodguard::guest
