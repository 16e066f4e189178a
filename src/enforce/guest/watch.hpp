// SPDX-License-Identifier: AGPL-3.0-only
//
// The guest point itself: every attempt of the guest to load a module, or to take one out, is seen, decided
// on and recorded.
//
//  - At the system call: the attempt. Which file, by which process. Nothing is decided here, for two
//    calls may share one load.
//  - At load_module(): the decision, on the kernel's own copy of the image. What is refused gets a length of
//    0, so that the kernel throws its copy away as it always does with what is no module.
//  - At its return: the answer. The kernel's own error is replaced by the policy's.
//
// What cannot be looked at is refused like anything else that cannot be judged.
//
// A task is called back from an injected call only after it was seen at a system call. So the breakpoint for
// that is set from then until every task that was seen has been seen to return.
#pragma once

#include "core/judge.hpp"
#include "enforce/guest/guest_image.hpp"
#include "enforce/guest/kernel_addresses.hpp"
#include "events/recorder.hpp"

#include <chrono>
#include <cstdint>
#include <list>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace kmodguard::guest {

/// The first three of a system call.
using Arguments = std::array<std::uint64_t, 3>;

class Watch {
  public:
    using Clock = std::chrono::steady_clock;

    struct Hashing {
        bool hash = false; ///< of every image, not only of those that are pinned
    };
    /// What tasks of the guest may be in the middle of that was not seen to begin.
    enum class Unseen : std::uint8_t {
        nothing, ///< of what matters here
        injected ///< calls that another kmodctl injected
    };

    /// All but `hashing` must outlive it.
    Watch(Machine& machine, core::Judge& judge, events::Recorder& recorder, Hashing hashing)
        : machine_(machine), judge_(judge), recorder_(recorder), hashing_(hashing) {}

    Watch(const Watch&) = delete;
    Watch& operator=(const Watch&) = delete;
    /// Records what is still open, however the guest or the watch has ended.
    ~Watch();

    /// From now on the guest's kernel is the one with these addresses: the hooks that it is to have.
    [[nodiscard]] Machine::Hooks hooks_for(KernelAddresses addresses, Unseen unseen);
    /// Puts back what a kmodctl that died left unfinished, and handles the tasks that are at a hook already.
    [[nodiscard]] sys::Result<void> take_over();

    /// Attempts for which no image has come for so long are the kernel's own to answer: they are recorded.
    void record_unanswered(Clock::time_point now = Clock::now());
    /// Records what is still open: the guest has ended, or the watch has.
    void finish();
    /// The tasks of an earlier boot are gone: records what of theirs is open. Needs a halted machine.
    [[nodiscard]] sys::Result<void> forget();
    [[nodiscard]] std::uint64_t attempts() const { return attempts_seen_; }
    /// Whether some task is in a call that was made in its name.
    [[nodiscard]] bool is_calling() const {
        return machine_.expects_at(addresses_.functions.return_trampoline);
    }

  private:
    /// A system call that has been seen, and is not recorded yet.
    struct Attempt {
        enum class Stage : std::uint8_t {
            handled, ///< its task is at one of its stops, or in an injected call
            open,    ///< the kernel goes on with it, and no image has come yet
            loading, ///< decided, and load_module() has not returned
        };
        Stage stage = Stage::handled;
        std::uint64_t stack = 0; ///< of the task that makes it
        Clock::time_point since = Clock::now();
        events::Attempt event;
        bool logged = false; ///< has its line in modules.log
    };
    using Attempts = std::list<Attempt>;
    using Entry = Attempts::iterator;
    /// Bytes; the stacks of two tasks are further apart.
    static constexpr std::uint64_t stack_between_calls = 4096;

    Machine::Work on_system_call(Processor processor, Location location, SystemCall call);
    Machine::Work on_load_module(Processor processor, Location location);
    Machine::Work on_return_trampoline(Processor processor, Location location);
    Task<sys::Result<void>> attempt(CallInjection& injection, SystemCall call,
                                    std::optional<Arguments> arguments);
    Task<sys::Result<void>> judge(CallInjection& injection, Entry attempt, std::optional<LoadInfo> info,
                                  bool of_process, std::uint64_t parameters);
    Task<sys::Result<void>> await_answer(CallInjection& injection, Entry attempt, bool refused);
    Task<sys::Result<void>> decide_at_call(CallInjection& injection, Arguments arguments);
    Task<sys::Result<void>> unload(CallInjection& injection, Arguments arguments);
    [[nodiscard]] sys::Result<void> answer_now(const CallInjection& injection, events::Attempt event,
                                               std::int64_t answer);

    [[nodiscard]] events::Attempt event_of(Call call) const;
    [[nodiscard]] std::int64_t return_value(events::Attempt& event, std::int64_t own) const;

    [[nodiscard]] sys::Result<void> note_call(std::uint64_t stack);
    [[nodiscard]] sys::Result<void> note_return(std::uint64_t stack);

    [[nodiscard]] Entry begin(std::uint64_t stack, Call call);
    [[nodiscard]] std::optional<Entry> find_open(std::uint64_t stack, std::uint64_t range);
    [[nodiscard]] Entry go_on(std::uint64_t stack);
    [[nodiscard]] events::Attempt take(Entry attempt);
    void log(Attempt& attempt, const std::string& name);
    void record_unanswered(Entry attempt);
    void remember(const events::Attempt& event);

    Machine& machine_;
    core::Judge& judge_;
    events::Recorder& recorder_;
    Hashing hashing_;
    KernelAddresses addresses_;
    Machine::Hooks injected_hooks_; ///< those in whose tasks calls are injected
    Attempts attempts_;             ///< in their order
    /// The tasks that are in a system call, by their stack pointers at its beginning.
    std::set<std::uint64_t> under_way_;
    std::uint64_t attempts_seen_ = 0;

    /// The last decision on a file, for calls that were answered by another's load of it.
    struct Decided {
        Clock::time_point when;
        core::Decision decision;
    };
    std::map<std::string, Decided> decided_; ///< by path
};

} // namespace kmodguard::guest
