// SPDX-License-Identifier: AGPL-3.0-only
//
// What each type of event says, field by field: its name in JSON and in the journal, its value, and what it
// means. The sinks go through these lists, and a test holds docs/events.md and data/kmodguard.catalog against
// them.
#pragma once

#include "events/decision_json.hpp"
#include "events/event.hpp"
#include "events/event_json.hpp"

#include <array>
#include <optional>
#include <string_view>

namespace kmodguard::events {

using Said = std::optional<Json>; ///< nothing: the field is absent

template <typename Of>
struct Field {
    std::string_view json;    ///< "a.b": member b of the object a; "": it is not in JSON
    std::string_view journal; ///< "": it is not in the journal
    std::string_view meaning; ///< for docs/events.md
    Said (*value)(const Of&);
    /// Where the journal says it in another way. What this gives is in the journal also if it is empty.
    Said (*in_journal)(const Of&) = nullptr;
};

inline Said said_if(bool condition, Json value) {
    return condition ? Said(std::move(value)) : std::nullopt;
}

// A member as it is said: an empty text, a zero and what is not there are not.
inline Said said(const std::string& text) {
    return said_if(!text.empty(), text);
}
inline Said said(std::uint64_t number) {
    return said_if(number != 0, number);
}
inline Said said(bool flag) {
    return said_if(flag, true);
}
inline Said said(std::chrono::system_clock::time_point time) {
    return timestamp(time);
}
inline Said said(const core::Sha256& hash) {
    return core::to_hex(hash);
}
inline Said said(const core::Rule& rule) {
    return json_of(rule);
}
inline Said said(const std::vector<std::string>& texts) {
    return said_if(!texts.empty(), Json::List(texts.begin(), texts.end()));
}
template <typename Value>
Said said(const std::optional<Value>& value) {
    return value ? said(*value) : std::nullopt;
}
template <typename Of, auto Member>
Said member(const Of& of) {
    return said(of.*Member);
}
template <typename Of, auto Member> // also if it is empty
Said text(const Of& of) {
    return Json(of.*Member);
}

/// The journal's own fields.
template <typename Of>
constexpr std::array<Field<Of>, 3> heading = {{
    {"", "MESSAGE_ID", "of the type of event", [](const Of&) -> Said { return message_id<Of>; }},
    {"", "MESSAGE", "one sentence", [](const Of& of) -> Said { return summary(of); }},
    {"", "PRIORITY", "of syslog: 3 to 6, as above",
     [](const Of& of) -> Said { return std::int64_t{priority_of(of)}; }},
}};

template <typename Of>
constexpr Field<Of> time_field = {"time", "", "RFC 3339, UTC, microseconds", member<Of, &Of::time>};
template <typename Of>
constexpr Field<Of> generation_field = {"generation", "KMODGUARD_GENERATION",
                                        "of the policy that judged, or was in force then",
                                        text<Of, &Of::generation>};

inline constexpr std::array<Field<Attempt>, 4> occasion_fields = {{
    time_field<Attempt>,
    {"point", "KMODGUARD_POINT", "`autoload`, `kernel`, `process` or `guest`",
     [](const Attempt& attempt) -> Said { return to_string(attempt.point); }},
    generation_field<Attempt>,
    {"", "KMODGUARD_SUBJECT", "for a headline: what was asked for, or the module that was given, or its file",
     [](const Attempt& attempt) -> Said { return subject_of(attempt); }},
}};

inline constexpr std::array<Field<core::Decision>, 10> decision_fields = {{
    {"token", "KMODGUARD_TOKEN", "what the kernel asked for; empty where an image was loaded",
     text<core::Decision, &core::Decision::token>, text<core::Decision, &core::Decision::token>},
    {"verdict", "KMODGUARD_VERDICT", "what happened: `allow` or `refuse`",
     [](const core::Decision& decision) -> Said { return to_string(decision.effective()); }},
    {"will_load", "KMODGUARD_WILL_LOAD",
     "whether a module will be loaded by it, as far as is known beforehand: `no` with verdict `allow` where "
     "modprobe.d or "
     "the kernel keeps it out (`modules[].kept_out`), and where there is nothing to load",
     [](const core::Decision& decision) -> Said { return decision.will_load(); }},
    {"judged", "KMODGUARD_JUDGED", "what the rules said; differs in audit mode",
     [](const core::Decision& decision) -> Said { return to_string(decision.judged); }},
    {"mode", "KMODGUARD_MODE", "`enforce` or `audit`",
     [](const core::Decision& decision) -> Said { return to_string(decision.mode); }},
    {"reason", "KMODGUARD_REASON", "as in [PROTOCOL.md](PROTOCOL.md)",
     [](const core::Decision& decision) -> Said { return to_string(decision.reason); }},
    {"blocked", "KMODGUARD_BLOCKED",
     "where the verdict is `refuse`: `no` if all that was asked for is built into the kernel "
     "(`modules[].built_in`), and "
     "so is there all the same",
     [](const core::Decision& decision) -> Said {
         return said_if(decision.effective() == core::Verdict::refuse, decision.blocks());
     }},
    {"rule", "KMODGUARD_RULE", "the rule that decided, with file and line",
     member<core::Decision, &core::Decision::rule>,
     [](const core::Decision& decision) -> Said {
         return decision.rule ? Said(describe(*decision.rule)) : std::nullopt;
     }},
    {"modules", "KMODGUARD_MODULE",
     "the modules that the token resolves to; in JSON each with its own verdict, chain and file, in the "
     "journal a field "
     "for each name",
     [](const core::Decision& decision) -> Said {
         Json::List modules;
         for (const core::ModuleDecision& module : decision.modules)
             modules.push_back(json_of(module, decision));
         return modules;
     },
     [](const core::Decision& decision) -> Said {
         Json::List names;
         for (const core::ModuleDecision& module : decision.modules)
             names.emplace_back(module.module);
         return names;
     }},
    {"explanation", "", "the decision in one sentence",
     [](const core::Decision& decision) -> Said { return explain(decision); }},
}};

template <typename Of>
constexpr std::array<Field<Of>, 2> repetition_fields = {{
    {"repeated", "KMODGUARD_REPEATED",
     "refusals of the same kind that were made before this one, were counted, and have no event of their "
     "own. See below",
     member<Of, &Of::repeated>},
    {"repeated_since", "KMODGUARD_REPEATED_SINCE", "when the first of these was made",
     member<Of, &Of::repeated_since>},
}};

inline constexpr std::array<Field<Attempt>, 9> attempt_fields = {{
    {"call", "KMODGUARD_CALL", "kernel, process and guest point: the system call",
     member<Attempt, &Attempt::call>},
    {"file", "KMODGUARD_FILE", "the file that the call was given, where one was",
     member<Attempt, &Attempt::file>},
    {"parameters", "KMODGUARD_PARAMETERS",
     "guest point: what the module was given, where it was given something",
     member<Attempt, &Attempt::parameters>},
    {"sha256", "KMODGUARD_SHA256",
     "the image's hash (kernel and guest point: where a pin asked for it; guest point: also with `--hash`)",
     member<Attempt, &Attempt::sha256>},
    {"answer", "KMODGUARD_ANSWER",
     "process and guest point: what the caller was told, `0` or the name of an errno",
     member<Attempt, &Attempt::answer>},
    {"other_tokens", "KMODGUARD_OTHER_TOKEN",
     "what those that were counted asked for, where it was other names that nothing answers to; 64 at most, "
     "in the "
     "journal a field for each",
     member<Attempt, &Attempt::other_tokens>},
    {"note", "KMODGUARD_NOTE", "anything else", member<Attempt, &Attempt::note>},
    {"trial", "KMODGUARD_TRIAL", "`kmodctl doctor` made the attempt, to see whether it is refused",
     [](const Attempt& attempt) { return said_if(is_trial(attempt), true); }},
    {"withheld", "KMODGUARD_WITHHELD",
     "process point: the rules allow it and nothing was done, since the caller had not the right to (`note` "
     "says which)",
     member<Attempt, &Attempt::withheld>},
}};

inline constexpr std::array<Field<EarlierCall>, 3> earlier_call_fields = {{
    {"after.call", "KMODGUARD_AFTER_CALL",
     "the call by which the same attempt was made before: a compressed file that was to be handed over "
     "decompressed",
     text<EarlierCall, &EarlierCall::call>},
    {"after.file", "KMODGUARD_AFTER_FILE", "its file", member<EarlierCall, &EarlierCall::file>},
    {"after.answer", "KMODGUARD_AFTER_ANSWER", "what its caller was told",
     member<EarlierCall, &EarlierCall::answer>},
}};

inline constexpr std::array<Field<Requester>, 8> requester_fields = {{
    {"requester.pid", "KMODGUARD_REQUESTER_PID",
     "the process that loads, or on whose behalf the kernel asks; recorded by the kernel point, in the "
     "initial "
     "namespaces, and by the process point, in kmodctl's. At the guest point it is the guest's, and of the "
     "rest nothing "
     "is known",
     [](const Requester& by) -> Said { return std::int64_t{by.pid}; }},
    {"requester.uid", "KMODGUARD_REQUESTER_UID",
     "null (and no field) of a kernel thread, and at the guest point",
     [](const Requester& by) -> Said { return by.uid ? Json(std::int64_t{*by.uid}) : Json(); }},
    {"requester.user_namespace", "KMODGUARD_REQUESTER_USER_NAMESPACE",
     "its inode number; 0 where it is not known", text<Requester, &Requester::user_namespace>},
    {"requester.comm", "KMODGUARD_REQUESTER_COMM", "the program's name, which the process may choose",
     text<Requester, &Requester::command>},
    {"requester.exe", "KMODGUARD_REQUESTER_EXE", "the program's file",
     text<Requester, &Requester::executable>},
    {"requester.cgroup", "KMODGUARD_REQUESTER_CGROUP", "its path", text<Requester, &Requester::cgroup>},
    {"requester.container", "KMODGUARD_REQUESTER_CONTAINER",
     "the outermost cgroup that has an engine's name; below `user.slice`, and below services that are no "
     "container "
     "engine, any process may have given the name, and it means nothing",
     text<Requester, &Requester::container>},
    {"requester.kernel_thread", "KMODGUARD_REQUESTER_KERNEL_THREAD", "it is a thread of the kernel",
     member<Requester, &Requester::kernel_thread>},
}};

inline constexpr std::array<Field<Change>, 7> change_fields = {{
    time_field<Change>,
    {"change", "KMODGUARD_CHANGE",
     "`allow`, `deny`, `remove`, `apply`, `mode`, `reload`, `arm`, `disarm`, `stop`, `seal`: kmodctl's verb "
     "of that name; "
     "`end`: a signal ended the daemon; `connect`: a process that is not root was turned away; `handler`: "
     "`kernel.modprobe` was changed from outside; `mode-end`: the time of a limited mode is over; `publish`: "
     "what is "
     "wanted could not be published, or was after that",
     [](const Change& change) -> Said { return to_string(change.action); }},
    {"argument", "KMODGUARD_ARGUMENT",
     "a module, `audit 1800`, `discard`; of `handler` the program that the kernel runs now, of `mode-end` "
     "and `publish` "
     "the mode",
     member<Change, &Change::argument>, text<Change, &Change::argument>},
    {"result", "KMODGUARD_RESULT", "`done` or `failed`",
     [](const Change& change) -> Said { return change.error ? "failed" : "done"; }},
    {"error", "KMODGUARD_ERROR", "why it failed", member<Change, &Change::error>},
    generation_field<Change>,
    {"repeated", "KMODGUARD_REPEATED",
     "`connect`: those of the last second that were counted and not recorded",
     member<Change, &Change::repeated>},
}};

inline constexpr std::array<Field<sys::ProcessIdentity>, 4> process_fields = {{
    {"by.pid", "KMODGUARD_BY_PID",
     "the process that asked: of a request to the daemon the one that connected, of `end`, and of a `reload` "
     "by SIGHUP, "
     "the one that sent the signal. Absent where no process asked, or none is known",
     [](const sys::ProcessIdentity& by) -> Said { return std::int64_t{by.pid}; }},
    {"by.uid", "KMODGUARD_BY_UID", "its user", text<sys::ProcessIdentity, &sys::ProcessIdentity::uid>},
    {"by.comm", "KMODGUARD_BY_COMM", "the program's name, which the process may choose",
     text<sys::ProcessIdentity, &sys::ProcessIdentity::command>},
    {"by.login_uid", "KMODGUARD_BY_LOGIN_UID",
     "the user who logged in, whatever `sudo` made of him since; null (and no field) where nobody has",
     [](const sys::ProcessIdentity& by) -> Said {
         return by.login_uid ? Json(std::int64_t{*by.login_uid}) : Json();
     }},
}};

inline constexpr std::array<Field<SealRefusal>, 5> seal_fields = {{
    time_field<SealRefusal>,
    {"point", "KMODGUARD_POINT", "`kernel`", [](const SealRefusal&) -> Said { return "kernel"; }},
    generation_field<SealRefusal>,
    {"reason", "KMODGUARD_REASON", "`sealed`", [](const SealRefusal&) -> Said { return "sealed"; }},
    {"forbidden", "KMODGUARD_FORBIDDEN", "what was tried, and is not possible before the machine restarts",
     text<SealRefusal, &SealRefusal::forbidden>},
}};

inline constexpr std::array<Field<Tampering>, 5> tampering_fields = {{
    time_field<Tampering>,
    {"point", "KMODGUARD_POINT", "`kernel`", [](const Tampering&) -> Said { return "kernel"; }},
    generation_field<Tampering>,
    {"reason", "KMODGUARD_REASON", "`tampered`", [](const Tampering&) -> Said { return "tampered"; }},
    {"found", "KMODGUARD_FOUND", "what is not as kmodguard left it, and whether that was put right",
     text<Tampering, &Tampering::found>},
}};

inline constexpr std::array<Field<Loss>, 2> loss_fields = {{
    time_field<Loss>,
    {"lost", "KMODGUARD_LOST", "attempts and changes that have no event and were not counted by any",
     [](const Loss& loss) -> Said { return std::uint64_t{loss.count}; }},
}};

/// Calls `visit(fields, of)` with each list of the fields of an event of this type. `of` is nullptr where the
/// event has not what they are of; where `event` itself is, only the lists are gone through.
template <typename Visit>
void visit_fields(const Attempt* event, Visit&& visit) {
    const bool has_after = event != nullptr && event->after;
    const bool has_requester = event != nullptr && event->requester;
    visit(heading<Attempt>, event);
    visit(occasion_fields, event);
    visit(decision_fields, event != nullptr ? &event->decision : nullptr);
    visit(attempt_fields, event);
    visit(repetition_fields<Attempt>, event);
    visit(earlier_call_fields, has_after ? &*event->after : nullptr);
    visit(requester_fields, has_requester ? &*event->requester : nullptr);
}
template <typename Visit>
void visit_fields(const Change* event, Visit&& visit) {
    visit(heading<Change>, event);
    visit(change_fields, event);
    visit(process_fields, event != nullptr && event->by ? &*event->by : nullptr);
}
template <typename Visit>
void visit_fields(const SealRefusal* event, Visit&& visit) {
    visit(heading<SealRefusal>, event);
    visit(seal_fields, event);
    visit(repetition_fields<SealRefusal>, event);
    visit(requester_fields, event != nullptr && event->requester ? &*event->requester : nullptr);
}
template <typename Visit>
void visit_fields(const Tampering* event, Visit&& visit) {
    visit(heading<Tampering>, event);
    visit(tampering_fields, event);
}
template <typename Visit>
void visit_fields(const Loss* event, Visit&& visit) {
    visit(heading<Loss>, event);
    visit(loss_fields, event);
}
/// Lines of modules.log are nowhere else.
template <typename Visit>
void visit_fields(const LogLine* /*event*/, Visit&& /*visit*/) {}
template <typename Visit>
void visit_fields(const LogLineLoss* /*event*/, Visit&& /*visit*/) {}

} // namespace kmodguard::events
