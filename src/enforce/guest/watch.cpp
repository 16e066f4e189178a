// SPDX-License-Identifier: AGPL-3.0-only
#include "enforce/guest/watch.hpp"

#include "sys/error_name.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

namespace kmodguard::guest {
namespace {

constexpr std::size_t max_parameters =
    4096;                            ///< as the kernel's strndup_user() is asked for, its end included
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

} // namespace

Machine::Hooks Watch::hooks_for(KernelAddresses addresses) {
    addresses_ = std::move(addresses);
    Machine::Hooks hooks;
    for (const SystemCall& call : addresses_.calls)
        hooks.emplace(call.address, [this, call](Processor on, Location at) {
            return on_system_call(std::move(on), at, call);
        });
    for (const std::uint64_t address : addresses_.load_module)
        hooks.emplace(address,
                      [this](Processor on, Location at) { return on_load_module(std::move(on), at); });
    hooks.emplace(addresses_.functions.return_trampoline,
                  [this](Processor on, Location at) { return on_return_trampoline(std::move(on), at); });
    return hooks;
}

/// Where a task may have stopped in whose name calls are injected.
std::vector<std::uint64_t> Watch::injection_addresses() const {
    std::vector<std::uint64_t> addresses = addresses_.load_module;
    for (const SystemCall& call : addresses_.calls)
        addresses.push_back(call.address);
    return addresses;
}

sys::Result<void> Watch::take_over() {
    const auto threads = TRY(machine_.debugger().threads());
    for (const gdb::ThreadId thread : threads) {
        const Processor stopped = machine_.processor(thread);
        const auto process = TRY(machine_.runs_process(stopped));
        if (process) continue;
        TRY(CallInjection::recover(stopped, injection_addresses()));
        TRY(machine_.handle_stop(thread));
    }
    return {};
}

/// An injected call has come back that no work waits for: a kmodctl made it that has died since. The task is
/// put back to where it was, and handled there. Else the guest's kernel panics.
Machine::Work Watch::on_return_trampoline(Processor processor, Location) {
    const auto recovered = CallInjection::recover(processor, injection_addresses());
    if (!recovered) co_return std::unexpected(recovered.error());
    if (!*recovered) co_return sys::Result<void>{};
    const Processor put_back = machine_.processor(processor.thread());
    const std::array names = {put_back.architecture().pc, put_back.architecture().stack};
    const auto values = put_back.get(names);
    if (!values) co_return std::unexpected(values.error());
    auto handled = co_await handle_again(put_back, {.pc = (*values)[0], .stack = (*values)[1]});
    co_return handled;
}

Machine::Work Watch::handle_again(Processor processor, Location location) {
    for (const SystemCall& call : addresses_.calls)
        if (call.address == location.pc) return on_system_call(std::move(processor), location, call);
    return on_load_module(std::move(processor), location);
}

// --- system calls

sys::Result<Watch::Arguments> Watch::arguments_of(const CallInjection& injection,
                                                  const CallConvention& convention) {
    const Processor& processor = injection.processor();
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

events::Attempt Watch::event_of(Call call) const {
    return {core::Point::guest, 1, judge_.decide(unreadable("the watch ended before it was decided")),
            to_string(call)};
}

Machine::Work Watch::on_system_call(Processor processor, Location location, SystemCall call) {
    CallInjection injection(machine_, addresses_.functions, processor, location);
    const auto read = arguments_of(injection, call.convention);
    if (!read && is_lost(read.error())) co_return std::unexpected(read.error());
    std::optional<Arguments> arguments; // none: the process has made up where they are
    if (read) arguments = *read;
    if (call.call == Call::delete_module) {
        auto unloaded = co_await unload(injection, arguments.value_or(Arguments{}));
        co_return unloaded;
    }
    auto attempted = co_await attempt(injection, call, arguments);
    if (!attempted || !addresses_.load_module.empty()) co_return attempted;
    if (call.call == Call::finit_module) { // after ENOSYS callers try init_module, which can be decided on
        events::Attempt event = take_or_begin(location.stack).event;
        event.answer = "ENOSYS";
        event.note = "this kernel's finit_module is not decided on: init_module is";
        event.decision = judge_.decide(unreadable("no image"));
        recorder_.record(std::move(event));
        co_return injection.processor().return_now(static_cast<std::uint64_t>(std::int64_t{-ENOSYS}));
    }
    auto decided = co_await decide_at_call(injection, arguments.value_or(Arguments{}));
    co_return decided;
}

Task<sys::Result<void>> Watch::attempt(CallInjection& injection, SystemCall call,
                                       std::optional<Arguments> arguments) {
    ++attempts_seen_;
    const auto seen = looked_at_.insert(
        looked_at_.end(),
        {.stack = injection.location().stack, .since = Clock::now(), .event = event_of(call.call)});
    if (!arguments) seen->event.note = "its arguments cannot be read";
    if (call.call == Call::finit_module && arguments) {
        constexpr std::uint64_t descriptor = 0xffff'ffff;
        auto path = co_await injection.path_of((*arguments)[0] & descriptor);
        if (!path && is_lost(path.error())) co_return std::unexpected(path.error());
        if (path && !path->empty())
            seen->event.file = *path;
        else
            seen->event.note = path ? fmt::format("file descriptor {} is not open", int_from((*arguments)[0]))
                                    : "no path: " + path.error().what;
    }
    auto process = co_await injection.call(addresses_.functions.process_id);
    if (!process && is_lost(process.error())) co_return std::unexpected(process.error());
    if (process) {
        events::Requester requester;
        requester.pid = static_cast<pid_t>(int_from(*process));
        seen->event.requester = std::move(requester);
    }
    if (!seen->event.file.empty()) log(*seen, "");
    // The task's last attempt, if it is still open, was answered by the kernel.
    // Kernels that randomise their stacks begin each call at a slightly different address.
    if (auto earlier = take_attempt(seen->stack - stack_between_calls, 2 * stack_between_calls))
        record_unanswered(*earlier);
    open_.splice(open_.end(), looked_at_, seen);
    co_return injection.leave();
}

// --- decisions

GuestImageOptions Watch::image_options(bool of_process) const {
    return {.policy = judge_.policy(), .hash = hashing_.hash, .of_process = of_process};
}

void Watch::judge(Attempt& attempt, const core::ImageFacts& facts) {
    attempt.event.decision = judge_.decide(facts);
    attempt.event.sha256 = facts.sha256;
    log(attempt, facts.name);
    remember(attempt.event);
}

bool Watch::enforced(const events::Attempt& event) const {
    return event.decision.effective() == core::Verdict::refuse;
}

/// What a refused call returns. For what is no module that is `own`, the kernel's answer, as if there were no
/// watch: busybox's insmod first hands over a compressed file as it is, and decompresses it if the kernel
/// refuses.
std::int64_t Watch::return_value(events::Attempt& event, std::int64_t own) const {
    if (event.decision.reason == core::Reason::not_a_module) return own;
    return -events::answer_refused(event, judge_.answer());
}

Machine::Work Watch::on_load_module(Processor processor, Location location) {
    CallInjection injection(machine_, addresses_.functions, processor, location);
    const auto arguments = processor.get(processor.architecture().arguments);
    if (!arguments) co_return std::unexpected(arguments.error());
    const auto attempt = looked_at_.insert(looked_at_.end(), take_or_begin(location.stack));
    const std::uint64_t load_info = arguments->front();
    const bool of_kernel = load_info >= processor.architecture().kernel_base;
    const auto words = processor.read_words(load_info, load_info_words);
    if (!words && is_lost(words.error())) co_return std::unexpected(words.error());
    std::optional<LoadInfo> info;
    if (words && of_kernel)
        info = load_info_from(std::span(*words).first<load_info_words>(), processor.architecture().word,
                              processor.architecture().kernel_base);
    sys::Result<core::ImageFacts> facts =
        unreadable("the guest's kernel keeps the image in a way that is not known");
    if (info) facts = co_await identify_in_guest(injection, *info, image_options(false));
    if (!facts) co_return std::unexpected(facts.error());
    auto parameters = co_await injection.user_text((*arguments)[1], max_parameters);
    if (!parameters && is_lost(parameters.error())) co_return std::unexpected(parameters.error());
    attempt->event.parameters = parameters.value_or("");
    if (info) attempt->event.image_size = info->size;
    judge(*attempt, *facts);
    if (auto left = injection.leave(); !left) co_return left;

    if (!enforced(attempt->event)) {
        auto passed = co_await let_pass(injection, settle(attempt));
        co_return passed;
    }
    if (!info) { // the kernel's copy is lost to the guest, but nothing is loaded
        const std::int64_t answer = return_value(attempt->event, -ENOEXEC);
        attempt->event.answer = name_of_answer(answer);
        recorder_.record(settle(attempt));
        co_return injection.processor().return_now(static_cast<std::uint64_t>(answer));
    }
    auto refused = co_await refuse(injection, *info, load_info, settle(attempt));
    co_return refused;
}

Task<sys::Result<void>> Watch::refuse(CallInjection& injection, LoadInfo info, std::uint64_t load_info,
                                      events::Attempt event) {
    const auto pending = loading_.insert(loading_.end(), std::move(event));
    const Processor& processor = injection.processor();
    const auto back = processor.return_address();
    if (!back) co_return std::unexpected(back.error());
    const std::array<std::uint64_t, 1> nothing{};
    if (auto emptied = processor.write_words(load_info + info.size_member, nothing); !emptied)
        co_return emptied;
    const Location caller{.pc = *back, .stack = processor.stack_after_return(injection.location().stack)};
    auto returned = co_await machine_.arrival(caller);
    if (!returned) co_return std::unexpected(returned.error());
    const gdb::Register result = returned->architecture().result;
    const auto value = returned->get(result);
    if (!value) co_return std::unexpected(value.error());
    const std::int64_t own = int_from(*value);
    if (own >= 0) pending->note = "LOADED: the guest's kernel took the image although nothing was left of it";
    const std::int64_t answer = return_value(*pending, own < 0 ? own : -ENOEXEC);
    pending->answer = name_of_answer(answer);
    recorder_.record(std::move(*pending));
    loading_.erase(pending);
    const std::array names = {result};
    const std::array values = {static_cast<std::uint64_t>(answer)};
    co_return returned->set(names, values);
}

Task<sys::Result<void>> Watch::let_pass(CallInjection& injection, events::Attempt event) {
    const auto pending = loading_.insert(loading_.end(), std::move(event));
    const auto back = injection.processor().return_address();
    if (!back) co_return std::unexpected(back.error());
    const Location caller{.pc = *back,
                          .stack = injection.processor().stack_after_return(injection.location().stack)};
    auto returned = co_await machine_.arrival(caller);
    if (!returned) co_return std::unexpected(returned.error());
    const auto value = returned->get(returned->architecture().result);
    if (!value) co_return std::unexpected(value.error());
    pending->answer = name_of_answer(int_from(*value));
    recorder_.record(std::move(*pending));
    loading_.erase(pending);
    co_return sys::Result<void>{};
}

/// For kernels whose copy cannot be got at. What the process does to its memory after this is not seen.
Task<sys::Result<void>> Watch::decide_at_call(CallInjection& injection, Arguments arguments) {
    const auto attempt = looked_at_.insert(looked_at_.end(), take_or_begin(injection.location().stack));
    const LoadInfo image{.image = arguments[0], .size = arguments[1]};
    auto facts = co_await identify_in_guest(injection, image, image_options(true));
    if (!facts) co_return std::unexpected(facts.error());
    auto parameters = co_await injection.user_text(arguments[2], max_parameters);
    if (!parameters && is_lost(parameters.error())) co_return std::unexpected(parameters.error());
    attempt->event.parameters = parameters.value_or("");
    judge(*attempt, *facts);
    if (auto left = injection.leave(); !left) co_return left;
    if (!enforced(attempt->event)) {
        // Its answer is not waited for: where it returns to, every system call does.
        recorder_.record(settle(attempt));
        co_return sys::Result<void>{};
    }
    const std::int64_t answer = return_value(attempt->event, -ENOEXEC);
    attempt->event.answer = name_of_answer(answer);
    recorder_.record(settle(attempt));
    co_return injection.processor().return_now(static_cast<std::uint64_t>(answer));
}

Task<sys::Result<void>> Watch::unload(CallInjection& injection, Arguments arguments) {
    events::Attempt event = event_of(Call::delete_module);
    auto name = co_await injection.user_text(arguments[0], max_name);
    if (!name && is_lost(name.error())) co_return std::unexpected(name.error());
    if (auto left = injection.leave(); !left) co_return left;
    if (!name) event.note = name.error().what;
    event.decision = core::decide_unload(judge_.policy(), name.value_or(""));
    if (!enforced(event)) {
        recorder_.record(std::move(event));
        co_return sys::Result<void>{};
    }
    const std::int64_t answer = return_value(event, -EPERM);
    event.answer = name_of_answer(answer);
    recorder_.record(std::move(event));
    co_return injection.processor().return_now(static_cast<std::uint64_t>(answer));
}

} // namespace kmodguard::guest
