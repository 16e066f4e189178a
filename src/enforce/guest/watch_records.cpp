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

} // namespace

Watch::~Watch() {
    try {
        finish();
    } catch (const std::bad_alloc&) { // NOLINT(bugprone-empty-catch): nothing can be recorded any more
    }
}

/// A line of modules.log for an attempt that has none yet.
void Watch::log(Attempt& attempt, const std::string& name) {
    if (std::exchange(attempt.logged, true)) return;
    const std::string& file = attempt.event.file;
    recorder_.record(events::LogLine{!file.empty() ? file : !name.empty() ? name : "?", ""});
}

/// The open attempt of the task whose stack pointer was at least `stack` then, and less than `range` above.
std::optional<Watch::Attempt> Watch::take_attempt(std::uint64_t stack, std::uint64_t range) {
    const auto distance = [stack](const Attempt& attempt) { return attempt.stack - stack; };
    const auto found = std::ranges::min_element(open_, {}, distance);
    if (found == open_.end() || distance(*found) >= range) return std::nullopt;
    Attempt attempt = std::move(*found);
    open_.erase(found);
    return attempt;
}

/// The open attempt of the task whose stack pointer is `stack`; one that begins here where the call was under
/// way before the watch was.
Watch::Attempt Watch::take_or_begin(std::uint64_t stack) {
    if (auto attempt = take_attempt(stack, stack_between_calls)) return std::move(*attempt);
    ++attempts_seen_;
    Attempt attempt{.event = event_of(Call::init_module)};
    attempt.event.call = "load_module";
    return attempt;
}

/// No image came for it: since Linux 6.5 calls that load one file at the same time share one load, and the
/// kernel refuses some by itself.
void Watch::record_unanswered(Attempt& attempt) {
    log(attempt, "");
    const auto shared = decided_.find(attempt.event.file);
    if (shared != decided_.end() && shared->second.when >= attempt.since) {
        attempt.event.decision = shared->second.decision;
        attempt.event.note = "answered like another call that loads the same file";
    } else {
        attempt.event.decision = judge_.decide(unreadable("no image: the guest's kernel answered by itself"));
    }
    recorder_.record(std::move(attempt.event));
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
    for (auto attempt = open_.begin(); attempt != open_.end();) {
        if (now - attempt->since < unanswered_after) {
            ++attempt;
            continue;
        }
        record_unanswered(*attempt);
        attempt = open_.erase(attempt);
    }
}

/// The event of an attempt that was looked at, which has its decision.
events::Attempt Watch::settle(std::list<Attempt>::iterator attempt) {
    events::Attempt event = std::move(attempt->event);
    looked_at_.erase(attempt);
    return event;
}

void Watch::finish() {
    for (Attempt& attempt : looked_at_) {
        log(attempt, "");
        recorder_.record(std::move(attempt.event));
    }
    looked_at_.clear();
    for (Attempt& attempt : open_)
        record_unanswered(attempt);
    open_.clear();
    for (events::Attempt& event : loading_) {
        if (event.note.empty()) event.note = "the guest's kernel had not answered when the watch ended";
        recorder_.record(std::move(event));
    }
    loading_.clear();
}

} // namespace kmodguard::guest
