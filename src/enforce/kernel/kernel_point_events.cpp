// SPDX-License-Identifier: AGPL-3.0-only
//
// What the kernel point records and counts, made into events.
#include "enforce/kernel/kernel_point.hpp"
#include "sys/kernel.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace kmodguard::kernel {
namespace {

/// Rounds of records that a request is looked for in.
constexpr int max_reads = 16;
constexpr std::size_t max_pending = 4096;
/// The hook asks again at once.
constexpr std::size_t max_brought = 32;
/// The hook gives up after 5 s, and its request is on its way before.
constexpr std::chrono::seconds request_timeout{10};

} // namespace

bool KernelPoint::read_records() {
    return reader_ && reader_->read();
}

void KernelPoint::on_record(const guard_record& record) {
    switch (record.kind) {
    case GUARD_REQUEST: on_request(record); break;
    case GUARD_REFUSED_REQUEST: {
        events::Attempt event = refused_request(text_of(record.name.text));
        event.requester = kernel::requester_of(record);
        set_times(event, record.time, record.repeated, record.repeated_since);
        callbacks_.record(std::move(event));
        break;
    }
    case GUARD_SEAL: callbacks_.record(seal_refusal_of(record)); break;
    default: on_image(record);
    }
}

events::Attempt KernelPoint::refused_request(std::string_view token) {
    events::Attempt event = callbacks_.judge(token);
    if (event.decision.effective() != core::Verdict::refuse) { // the policy is another by now
        event.decision = core::Decision{};
        event.decision.token = token;
        event.decision.reason = core::Reason::not_listed;
    }
    return event;
}

/// Of refusals that the kernel has counted without a record, nor counted in a later record.
void KernelPoint::report_counted(Guard::Counted which) {
    for (const auto& [what, how] : guard_->take_counted(which)) {
        const auto record = [&](auto refusal) {
            refusal.requester = brief_requester_of(how);
            set_times(refusal, how.last, how.unrecorded - 1, how.since);
            callbacks_.record(std::move(refusal));
        };
        if (what.name.text[0] == GUARD_SEAL_MARK)
            record(events::SealRefusal(generation_.value_or(0),
                                       forbidden_text(static_cast<unsigned char>(what.name.text[1])), {}));
        else
            record(refused_request(text_of(what.name.text)));
    }
    if (const std::uint64_t lost = guard_->take_lost(); lost != 0) callbacks_.lost(lost);
}

void KernelPoint::report_all() {
    if (!guard_) return;
    for (int reads = 0; reads < max_reads; ++reads)
        if (!read_records()) break;
    report_counted(Guard::Counted::all);
}

void KernelPoint::on_request(const guard_record& record) {
    if (pending_.size() >= max_pending) pending_.pop_front();
    pending_.push_back({.token = text_of(record.name.text),
                        .requester = kernel::requester_of(record),
                        .since = std::chrono::steady_clock::now(),
                        .time = time_of(record.time)});
}

void KernelPoint::on_image(const guard_record& record) {
    events::Attempt event =
        event_of(record, {policy_, index_or_none(), admissions_, generation_.value_or(0)});
    name_unpacked(event);
    if (record.kind == GUARD_IMAGE && record.reason == GUARD_UNKNOWN_CONTENT) {
        if (event.other_form_wanted)
            event.note = "answered ENOSYS, so that it is handed over decompressed";
        else
            judge_by_file(event);
    }
    const bool for_want_of_a_rule =
        event.decision.reason == core::Reason::not_listed || event.decision.reason == core::Reason::no_policy;
    if (for_want_of_a_rule && record.kind == GUARD_IMAGE && record.refused != 0
        && sys::has_live_module(text_of(record.name.text)))
        event.note = "a module of this name is loaded; without the guard the kernel would say that it exists";
    callbacks_.record(std::move(event));
}

/// What the hook was handed unpacked is a file in memory, of a name that only this daemon gives. For people
/// it is the file that it was unpacked from.
void KernelPoint::name_unpacked(events::Attempt& event) {
    constexpr std::string_view in_memory = "/memfd:"; // fs/memfd.c
    const std::size_t begin = event.file.find(in_memory);
    if (begin == std::string::npos) return;
    const auto origin = callbacks_.unpacked(std::string_view(event.file).substr(begin + in_memory.size()));
    if (!origin) return;
    event.file = origin->file.native();
    if (!event.sha256) event.sha256 = origin->sha256;
}

/// Audit mode has let a compressed image pass whose content was not known. What it is, its file tells, if it
/// is still the same; nothing depends on that but the record.
void KernelPoint::judge_by_file(events::Attempt& event) {
    // Nothing but the system's modules: a path from elsewhere could keep the daemon waiting.
    if (!event.file.starts_with("/usr/lib/modules/") && !event.file.starts_with("/lib/modules/")) return;
    const auto found = image_reader_.read(event.file, {.hash = true});
    if (!found || !found->facts.problem.empty()) return;
    event.decision = core::decide_image(policy_, index_or_none(), admissions_, found->facts);
    event.note = "judged by what the file holds now";
}

std::optional<events::Requester> KernelPoint::requester_of(std::string_view token) {
    const auto here = [this, token] { return std::ranges::find(pending_, token, &Pending::token); };
    // The kernel recorded it before it ran the hook.
    for (int reads = 0; reads < max_reads && here() == pending_.end(); ++reads)
        if (!read_records()) break;
    const auto found = here();
    if (found == pending_.end()) return std::nullopt;
    brought_.push_front(std::move(*found));
    if (brought_.size() > max_brought) brought_.pop_back();
    pending_.erase(found);
    return brought_.front().requester;
}

std::optional<events::Requester> KernelPoint::requester_again(std::string_view token) {
    const auto found = std::ranges::find(brought_, token, &Pending::token);
    if (found == brought_.end() || std::chrono::steady_clock::now() - found->since > request_timeout)
        return std::nullopt;
    events::Requester requester = std::move(found->requester);
    brought_.erase(found);
    return requester;
}

void KernelPoint::expire_pending() {
    const auto now = std::chrono::steady_clock::now();
    while (!pending_.empty() && now - pending_.front().since > request_timeout) {
        Pending& old = pending_.front();
        events::Attempt event = callbacks_.judge(old.token);
        event.time = old.time;
        event.requester = std::move(old.requester);
        event.note = "the hook did not bring this request";
        callbacks_.record(std::move(event));
        pending_.pop_front();
    }
}

void KernelPoint::report(const std::string& what) {
    callbacks_.record(events::Tampering(generation_.value_or(0), what));
}

/// Of `modules`, which the kernel point refuses because of what their images say.
void KernelPoint::record_withdrawal(const std::vector<std::string>& modules,
                                    std::optional<std::string> why_not) {
    events::Change change(events::Action::withdraw, generation_.value_or(0), std::move(why_not));
    change.argument = fmt::format("{}", fmt::join(modules, " "));
    callbacks_.record(std::move(change));
}

} // namespace kmodguard::kernel
