// SPDX-License-Identifier: AGPL-3.0-only
//
// What becomes of the record of an attempt between the system call and the answer: each attempt that was seen
// gets one event, also if the guest, or the watch, ends in the middle.
#include "enforce/guest/watch.hpp"

#include <algorithm>
#include <new>
#include <utility>

namespace kmodguard::guest {
namespace {

constexpr std::chrono::seconds unanswered_after{5};
/// There may be any number, if somebody means there to be.
constexpr std::size_t max_under_way = 16;
constexpr std::uint64_t not_told_apart = 0; ///< the stack pointer of no task: stands for any number of them

} // namespace

Watch::~Watch() {
    try {
        finish();
    } catch (const std::bad_alloc&) { // NOLINT(bugprone-empty-catch): nothing can be recorded any more
    }
}

/// A task is at a system call. Whatever call it, or a task that had its stack before, was in has ended.
sys::Result<void> Watch::note_call(std::uint64_t stack) {
    under_way_.erase(under_way_.lower_bound(stack - stack_between_calls + 1),
                     under_way_.lower_bound(stack + stack_between_calls));
    if (under_way_.size() >= max_under_way) under_way_ = {not_told_apart};
    under_way_.insert(stack);
    return machine_.set_calls_under_way(true);
}

/// The task whose stack pointer was at least `stack` at its system call is through with what is done in its
/// name there. Not told of every task: some calls are answered by the kernel itself, and nobody sees it.
sys::Result<void> Watch::note_return(std::uint64_t stack) {
    const auto call = under_way_.lower_bound(stack);
    if (call != under_way_.end() && *call - stack < stack_between_calls) under_way_.erase(call);
    return machine_.set_calls_under_way(!under_way_.empty());
}

sys::Result<void> Watch::forget() {
    finish();
    under_way_.clear();
    TRY(machine_.forget());
    return machine_.set_calls_under_way(false);
}

Watch::Entry Watch::begin(std::uint64_t stack, Call call) {
    ++attempts_seen_;
    return attempts_.insert(attempts_.end(), {.stack = stack, .event = event_of(call)});
}

/// The open attempt of the task whose stack pointer was at least `stack` then, and less than `range` above.
std::optional<Watch::Entry> Watch::find_open(std::uint64_t stack, std::uint64_t range) {
    std::optional<Entry> nearest;
    for (auto attempt = attempts_.begin(); attempt != attempts_.end(); ++attempt) {
        const std::uint64_t distance = attempt->stack - stack;
        if (attempt->stage != Attempt::Stage::open || distance >= range) continue;
        nearest = attempt;
        range = distance;
    }
    return nearest;
}

/// The open attempt of the task whose stack pointer is `stack`, which is handled from now on; one that begins
/// here where the call was under way before the watch was.
Watch::Entry Watch::go_on(std::uint64_t stack) {
    if (const auto attempt = find_open(stack, stack_between_calls)) {
        (*attempt)->stage = Attempt::Stage::handled;
        return *attempt;
    }
    const auto attempt = begin(stack, Call::init_module);
    attempt->event.call = "load_module";
    return attempt;
}

/// The event of an attempt that has its decision.
events::Attempt Watch::take(Entry attempt) {
    events::Attempt event = std::move(attempt->event);
    attempts_.erase(attempt);
    return event;
}

/// A line of modules.log for an attempt that has none yet.
void Watch::log(Attempt& attempt, const std::string& name) {
    if (std::exchange(attempt.logged, true)) return;
    const std::string& file = attempt.event.file;
    recorder_.record(events::LogLine{!file.empty() ? file : !name.empty() ? name : "?", ""});
}

/// No image came for it: since Linux 6.5 calls that load one file at the same time share one load, and the
/// kernel refuses some by itself.
void Watch::record_unanswered(Entry attempt) {
    log(*attempt, "");
    const auto shared = decided_.find(attempt->event.file);
    if (shared != decided_.end() && shared->second.when >= attempt->since) {
        attempt->event.decision = shared->second.decision;
        attempt->event.note = "answered like another call that loads the same file";
    } else {
        attempt->event.decision =
            judge_.decide(unreadable("no image: the guest's kernel answered by itself"));
    }
    recorder_.record(take(attempt));
}

void Watch::remember(const events::Attempt& event) {
    constexpr std::size_t max_files = 256;
    if (event.file.empty()) return;
    if (decided_.size() >= max_files)
        decided_.erase(
            std::ranges::min_element(decided_, {}, [](const auto& one) { return one.second.when; }));
    decided_.insert_or_assign(event.file, Decided{.when = Clock::now(), .decision = event.decision});
}

void Watch::record_unanswered(Clock::time_point now) {
    for (auto next = attempts_.begin(); next != attempts_.end();) {
        const auto attempt = next++;
        if (attempt->stage == Attempt::Stage::open && now - attempt->since >= unanswered_after)
            record_unanswered(attempt);
    }
}

void Watch::finish() {
    while (!attempts_.empty()) {
        const auto attempt = attempts_.begin();
        switch (attempt->stage) {
        case Attempt::Stage::handled: log(*attempt, ""); break;
        case Attempt::Stage::open: record_unanswered(attempt); continue;
        case Attempt::Stage::loading:
            if (attempt->event.note.empty())
                attempt->event.note = "the guest's kernel had not answered when the watch ended";
            break;
        }
        recorder_.record(take(attempt));
    }
}

} // namespace kmodguard::guest
