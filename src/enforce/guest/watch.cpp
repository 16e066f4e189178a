// SPDX-License-Identifier: AGPL-3.0-only
#include "enforce/guest/watch.hpp"

#include "sys/result.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

namespace kmodguard::guest {
namespace {

/// As the kernel's strndup_user() is asked for, its end included.
constexpr std::size_t max_parameters = 4096;
constexpr std::size_t max_name = 64; ///< MODULE_NAME_LEN is 56 or 60

std::string name_of_answer(std::int64_t answer) {
    constexpr std::int64_t max_error = 4095;
    return answer < 0 && answer >= -max_error ? sys::error_name(static_cast<int>(-answer))
                                              : std::to_string(answer);
}

/// An int that a kernel function returned.
std::int64_t int_from(std::uint64_t value) {
    return static_cast<std::int32_t>(static_cast<std::uint32_t>(value));
}

sys::Result<Arguments> arguments_of(const Processor& processor, const CallConvention& convention) {
    const auto values = TRY(processor.get(processor.architecture().arguments));
    const bool saved = convention.kind == CallConvention::Kind::saved
                       || (convention.kind == CallConvention::Kind::either
                           && values.front() >= processor.architecture().kernel_base);
    Arguments arguments{};
    if (!saved) {
        std::ranges::copy(values, arguments.begin());
        return arguments;
    }
    // One piece of memory has all three.
    const auto [first, last] = std::ranges::minmax(convention.offsets);
    const std::size_t word = processor.architecture().word;
    const auto words = TRY(processor.read_words(values.front() + first, (last - first) / word + 1));
    for (std::size_t i = 0; i < arguments.size(); ++i)
        arguments[i] = words[(convention.offsets[i] - first) / word];
    return arguments;
}

bool is_refused(const events::Attempt& event) {
    return event.decision.effective() == core::Verdict::refuse;
}

} // namespace

Machine::Hooks Watch::hooks_for(KernelAddresses addresses, Unseen unseen) {
    addresses_ = std::move(addresses);
    Machine::Hooks hooks;
    for (const SystemCall& call : addresses_.calls)
        hooks.emplace(call.address, Machine::Hook{[this, call](Processor on, Location at) {
                          return on_system_call(std::move(on), at, call);
                      }});
    for (const std::uint64_t address : addresses_.load_module)
        hooks.emplace(address, Machine::Hook{[this](Processor on, Location at) {
                          return on_load_module(std::move(on), at);
                      }});
    injected_hooks_ = hooks;
    hooks.emplace(
        addresses_.functions.return_trampoline,
        Machine::Hook{
            .handler = [this](Processor on, Location at) { return on_return_trampoline(std::move(on), at); },
            .when = unseen == Unseen::injected ? Machine::When::always : Machine::When::during_calls});
    return hooks;
}

sys::Result<void> Watch::take_over() {
    const auto threads = TRY(machine_.debugger().threads());
    for (const gdb::ThreadId thread : threads) {
        const Processor stopped = machine_.processor(thread);
        const auto process = TRY(machine_.runs_process(stopped));
        if (process) continue;
        TRY(CallInjection::recover(stopped, injected_hooks_));
        TRY(machine_.handle_stop(thread));
    }
    return {};
}

/// An injected call has come back that no work waits for: a kmodctl made it that has died since. The task is
/// put back to where it was, and handled there. Else the guest's kernel panics.
Machine::Work Watch::on_return_trampoline(Processor processor, Location) {
    const bool recovered = co_await or_end(CallInjection::recover(processor, injected_hooks_));
    if (!recovered) co_return sys::Result<void>{};
    const Processor put_back = machine_.processor(processor.thread());
    const std::array names = {put_back.architecture().pc, put_back.architecture().stack};
    const auto values = co_await or_end(put_back.get(names));
    const Location location{.pc = values[0], .stack = values[1]};
    const auto hook = injected_hooks_.find(location.pc);
    if (hook == injected_hooks_.end()) co_return sys::Result<void>{};
    auto handled = co_await hook->second.handler(put_back, location);
    co_return handled;
}

// --- system calls

events::Attempt Watch::event_of(Call call) const {
    return {core::Point::guest, 1, judge_.decide(unreadable("the watch ended before it was decided")),
            to_string(call)};
}

Machine::Work Watch::on_system_call(Processor processor, Location location, SystemCall call) {
    CallInjection injection(machine_, addresses_.functions, processor, location);
    const auto read = co_await unless_lost(arguments_of(processor, call.convention));
    std::optional<Arguments> arguments; // none: the process has made up where they are
    if (read) arguments = *read;
    if (call.call == Call::delete_module) {
        auto unloaded = co_await unload(injection, arguments.value_or(Arguments{}));
        co_return unloaded;
    }
    co_await or_end(note_call(location.stack)); // before the guest goes on
    co_await or_end(co_await attempt(injection, call, arguments));
    if (!addresses_.load_module.empty()) co_return sys::Result<void>{};
    if (call.call == Call::finit_module) { // after ENOSYS callers try init_module, which can be decided on
        events::Attempt event = take(go_on(location.stack));
        event.note = "this kernel's finit_module is not decided on: init_module is";
        event.decision = judge_.decide(unreadable("no image"));
        co_return answer_now(injection, std::move(event), -ENOSYS);
    }
    auto decided = co_await decide_at_call(injection, arguments.value_or(Arguments{}));
    co_return decided;
}

Task<sys::Result<void>> Watch::attempt(CallInjection& injection, SystemCall call,
                                       std::optional<Arguments> arguments) {
    const auto seen = begin(injection.location().stack, call.call);
    if (!arguments) seen->event.note = "its arguments cannot be read";
    if (call.call == Call::finit_module && arguments) {
        constexpr std::uint64_t descriptor = 0xffff'ffff;
        const auto path = co_await unless_lost(co_await injection.path_of((*arguments)[0] & descriptor));
        if (path && !path->empty())
            seen->event.file = *path;
        else
            seen->event.note = path ? fmt::format("file descriptor {} is not open", int_from((*arguments)[0]))
                                    : "no path: " + path.error().what;
    }
    const auto process = co_await unless_lost(co_await injection.call(addresses_.functions.process_id));
    if (process) {
        events::Requester requester;
        requester.pid = static_cast<pid_t>(int_from(*process));
        seen->event.requester = std::move(requester);
    }
    if (!seen->event.file.empty()) log(*seen, "");
    // The task's last attempt, if it is still open, was answered by the kernel.
    // Kernels that randomise their stacks begin each call at a slightly different address.
    if (const auto earlier = find_open(seen->stack - stack_between_calls, 2 * stack_between_calls))
        record_unanswered(*earlier);
    seen->stage = Attempt::Stage::open;
    co_return injection.leave();
}

// --- decisions

/// What a refused call returns. For what is no module that is `own`, the kernel's answer, as if there were no
/// watch: busybox's insmod first hands over a compressed file as it is, and decompresses it if the kernel
/// refuses.
std::int64_t Watch::return_value(events::Attempt& event, std::int64_t own) const {
    if (event.decision.reason == core::Reason::not_a_module) return own;
    return -events::answer_refused(event, judge_.answer());
}

/// Has the stopped function return, as if it had run, and records that.
sys::Result<void> Watch::answer_now(const CallInjection& injection, events::Attempt event,
                                    std::int64_t answer) {
    event.answer = name_of_answer(answer);
    recorder_.record(std::move(event));
    TRY(note_return(injection.location().stack));
    return injection.processor().return_now(static_cast<std::uint64_t>(answer));
}

/// Decides on the image of the task, which is left as it was. `parameters` is where the process has them.
Task<sys::Result<void>> Watch::judge(CallInjection& injection, Entry attempt, std::optional<LoadInfo> info,
                                     bool of_process, std::uint64_t parameters) {
    core::ImageFacts facts = unreadable("the guest's kernel keeps the image in a way that is not known");
    if (info) {
        const GuestImageOptions options{
            .policy = judge_.policy(), .hash = hashing_.hash, .of_process = of_process};
        facts = co_await or_end(co_await identify_in_guest(injection, *info, options));
    }
    const auto text = co_await unless_lost(co_await injection.user_text(parameters, max_parameters));
    attempt->event.parameters = text.value_or("");
    attempt->event.decision = judge_.decide(facts);
    attempt->event.sha256 = facts.sha256;
    log(*attempt, facts.name);
    remember(attempt->event);
    co_return injection.leave();
}

Machine::Work Watch::on_load_module(Processor processor, Location location) {
    CallInjection injection(machine_, addresses_.functions, processor, location);
    const Architecture& architecture = processor.architecture();
    const auto arguments = co_await or_end(processor.get(architecture.arguments));
    const auto attempt = go_on(location.stack);
    const std::uint64_t load_info = arguments[0];
    const auto words = co_await unless_lost(processor.read_words(load_info, load_info_words));
    std::optional<LoadInfo> info;
    if (words && load_info >= architecture.kernel_base)
        info = load_info_from(std::span(*words).first<load_info_words>(), architecture.word,
                              architecture.kernel_base);
    if (info) attempt->event.image_size = info->size;
    co_await or_end(co_await judge(injection, attempt, info, false, arguments[1]));

    const bool refused = is_refused(attempt->event);
    if (refused && !info) { // the kernel's copy is lost to the guest, but nothing is loaded
        const std::int64_t answer = return_value(attempt->event, -ENOEXEC);
        co_return answer_now(injection, take(attempt), answer);
    }
    if (refused) {
        const std::array<std::uint64_t, 1> nothing{};
        co_await or_end(injection.processor().write_words(load_info + info->size_member, nothing));
    }
    auto answered = co_await await_answer(injection, attempt, refused);
    co_return answered;
}

/// Waits until load_module() returns, and records its answer; of a refused image, after replacing it.
Task<sys::Result<void>> Watch::await_answer(CallInjection& injection, Entry attempt, bool refused) {
    attempt->stage = Attempt::Stage::loading;
    const Processor& called = injection.processor();
    const auto back = co_await or_end(called.return_address());
    const Location caller{.pc = back, .stack = called.stack_after_return(injection.location().stack)};
    const Processor returned = co_await or_end(co_await machine_.arrival(caller));
    const gdb::Register result = returned.architecture().result;
    const auto value = co_await or_end(returned.get(result));
    std::int64_t answer = int_from(value);
    if (refused) {
        if (answer >= 0)
            attempt->event.note = "LOADED: the guest's kernel took the image although nothing was left of it";
        answer = return_value(attempt->event, answer < 0 ? answer : -ENOEXEC);
    }
    attempt->event.answer = name_of_answer(answer);
    co_await or_end(note_return(attempt->stack));
    recorder_.record(take(attempt));
    if (!refused) co_return sys::Result<void>{};
    const std::array names = {result};
    const std::array values = {static_cast<std::uint64_t>(answer)};
    co_return returned.set(names, values);
}

/// For kernels whose copy cannot be got at. What the process does to its memory after this is not seen.
Task<sys::Result<void>> Watch::decide_at_call(CallInjection& injection, Arguments arguments) {
    const auto attempt = go_on(injection.location().stack);
    const LoadInfo image{.image = arguments[0], .size = arguments[1]};
    co_await or_end(co_await judge(injection, attempt, image, true, arguments[2]));
    if (!is_refused(attempt->event)) {
        // Its answer is not waited for: where it returns to, every system call does.
        recorder_.record(take(attempt));
        co_return note_return(injection.location().stack);
    }
    const std::int64_t answer = return_value(attempt->event, -ENOEXEC);
    co_return answer_now(injection, take(attempt), answer);
}

Task<sys::Result<void>> Watch::unload(CallInjection& injection, Arguments arguments) {
    events::Attempt event = event_of(Call::delete_module);
    const auto name = co_await unless_lost(co_await injection.user_text(arguments[0], max_name));
    co_await or_end(injection.leave());
    if (!name) event.note = name.error().what;
    event.decision = core::decide_unload(judge_.policy(), name.value_or(""));
    if (!is_refused(event)) {
        recorder_.record(std::move(event));
        co_return sys::Result<void>{};
    }
    const std::int64_t answer = return_value(event, -EPERM);
    co_return answer_now(injection, std::move(event), answer);
}

} // namespace kmodguard::guest
