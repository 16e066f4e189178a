// SPDX-License-Identifier: AGPL-3.0-only
//
// What each type of event has, field by field: its name in JSON and in the journal, its value, and what it
// means. The journal and JSON go through these lists, and a test compares docs/events.md and
// data/kmodguard.catalog with them.
#pragma once

#include "events/event.hpp"
#include "events/event_json.hpp"

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace kmodguard::events {

template <typename Of>
struct Field {
    std::string_view json;             ///< "a.b": member b of the object a; "": it is not in JSON
    std::string_view journal;          ///< "": it is not in the journal
    std::string_view meaning;          ///< for docs/events.md
    void (*write)(const Of&, Output&); ///< its value; nothing: the field is absent
    /// Where it is another in the journal. What this writes is in the journal also if it is empty.
    void (*in_journal)(const Of&, Output&) = nullptr;
};

// The value of a member: an empty text, a zero and what is not there are absent.
inline void write_if_any(Output& out, const std::string& text) {
    if (!text.empty()) out.text(text);
}
inline void write_if_any(Output& out, std::uint64_t number) {
    if (number != 0) write_value(out, number);
}
inline void write_if_any(Output& out, bool flag) {
    if (flag) out.boolean(true);
}
inline void write_if_any(Output& out, WallClock::time_point time) {
    out.text(Timestamp(time).text());
}
inline void write_if_any(Output& out, const core::Sha256& hash) {
    out.text(core::to_hex(hash));
}
inline void write_if_any(Output& out, const core::Rule& rule) {
    write(out, rule);
}
inline void write_if_any(Output& out, const std::vector<std::string>& texts) {
    if (texts.empty()) return;
    out.begin_list();
    for (const std::string& text : texts)
        out.text(text);
    out.end_list();
}
template <typename Enum>
    requires std::is_enum_v<Enum>
void write_if_any(Output& out, Enum value) {
    write_value(out, value);
}
template <typename Value>
void write_if_any(Output& out, const std::optional<Value>& value) {
    if (value) write_if_any(out, *value);
}

template <typename Of, typename Value>
Of owner_of(Value Of::* member);
template <auto member>
using Owner = decltype(owner_of(member));

template <auto member>
void if_any(const Owner<member>& of, Output& out) {
    write_if_any(out, of.*member);
}
/// Also if it is empty; null where it is not there.
template <auto member>
void always(const Owner<member>& of, Output& out) {
    if constexpr (requires { (of.*member).value(); }) {
        if (!(of.*member)) return out.null();
        write_value(out, *(of.*member));
    } else {
        write_value(out, of.*member);
    }
}

/// The journal's own fields.
template <typename Of>
constexpr std::array<Field<Of>, 3> heading = {{
    {"", "MESSAGE_ID", "of the type of event", [](const Of&, Output& out) { out.text(Of::message_id); }},
    {"", "MESSAGE", "one sentence", [](const Of& of, Output& out) { out.text(summary(of)); }},
    {"", "PRIORITY", "of syslog: 3 to 6, as above",
     [](const Of& of, Output& out) { out.number(priority_of(of)); }},
}};

template <typename Of>
constexpr Field<Of> time_field = {"time", "", "RFC 3339, UTC, microseconds", if_any<&Of::time>};
template <typename Of>
constexpr Field<Of> generation_field = {"generation", "KMODGUARD_GENERATION",
                                        "of the policy that judged, or was in force then",
                                        always<&Of::generation>};

inline constexpr std::array<Field<Attempt>, 4> occasion_fields = {{
    time_field<Attempt>,
    {"point", "KMODGUARD_POINT", "`autoload`, `kernel`, `process` or `guest`", if_any<&Attempt::point>},
    generation_field<Attempt>,
    {"", "KMODGUARD_SUBJECT", "for a headline: what was asked for, or the module that was given, or its file",
     [](const Attempt& attempt, Output& out) { out.text(subject_of(attempt)); }},
}};

inline constexpr std::array<Field<core::Decision>, 10> decision_fields = {{
    {"token", "KMODGUARD_TOKEN", "what the kernel asked for; empty where an image was loaded",
     always<&core::Decision::token>, always<&core::Decision::token>},
    {"verdict", "KMODGUARD_VERDICT", "what happened: `allow` or `refuse`",
     [](const core::Decision& decision, Output& out) { write_value(out, decision.effective()); }},
    {"will_load", "KMODGUARD_WILL_LOAD",
     "whether a module will be loaded by it, as far as is known beforehand: `no` with verdict `allow` "
     "where modprobe.d or the kernel keeps it out (`modules[].kept_out`), and where there is nothing to "
     "load",
     [](const core::Decision& decision, Output& out) { out.boolean(decision.will_load()); }},
    {"judged", "KMODGUARD_JUDGED", "what the rules decide; differs in audit mode",
     if_any<&core::Decision::judged>},
    {"mode", "KMODGUARD_MODE", "`enforce` or `audit`", if_any<&core::Decision::mode>},
    {"reason", "KMODGUARD_REASON", "as in [PROTOCOL.md](PROTOCOL.md)", if_any<&core::Decision::reason>},
    {"blocked", "KMODGUARD_BLOCKED",
     "where the verdict is `refuse`: `no` if all that was asked for is built into the kernel "
     "(`modules[].built_in`), and so is there all the same",
     [](const core::Decision& decision, Output& out) {
         if (decision.effective() == core::Verdict::refuse) out.boolean(decision.blocks());
     }},
    {"rule", "KMODGUARD_RULE", "the rule that decided, with file and line", if_any<&core::Decision::rule>,
     [](const core::Decision& decision, Output& out) {
         if (decision.rule) out.text(describe(*decision.rule));
     }},
    {"modules", "KMODGUARD_MODULE",
     "the modules that the token resolves to; in JSON each with its own verdict, chain and file, in the "
     "journal a field for each name",
     [](const core::Decision& decision, Output& out) {
         out.begin_list();
         for (const core::ModuleDecision& module : decision.modules)
             write(out, module, decision);
         out.end_list();
     },
     [](const core::Decision& decision, Output& out) {
         out.begin_list();
         for (const core::ModuleDecision& module : decision.modules)
             out.text(module.module);
         out.end_list();
     }},
    {"explanation", "", "the decision in one sentence",
     [](const core::Decision& decision, Output& out) { out.text(explain(decision)); }},
}};

template <typename Of>
constexpr std::array<Field<Of>, 2> repetition_fields = {{
    {"repeated", "KMODGUARD_REPEATED",
     "refusals of the same kind that were made before this one, were counted, and have no event of their "
     "own. See below",
     if_any<&Of::repeated>},
    {"repeated_since", "KMODGUARD_REPEATED_SINCE", "when the first of these was made",
     if_any<&Of::repeated_since>},
}};

inline constexpr std::array<Field<Attempt>, 9> attempt_fields = {{
    {"call", "KMODGUARD_CALL", "kernel, process and guest point: the system call", if_any<&Attempt::call>},
    {"file", "KMODGUARD_FILE", "the file that the call was given, where one was", if_any<&Attempt::file>},
    {"parameters", "KMODGUARD_PARAMETERS",
     "guest point: what the module was given, where it was given something", if_any<&Attempt::parameters>},
    {"sha256", "KMODGUARD_SHA256",
     "the image's hash (kernel and guest point: where a pin asked for it; guest point: also with `--hash`)",
     if_any<&Attempt::sha256>},
    {"answer", "KMODGUARD_ANSWER",
     "process and guest point: what was returned to the caller, `0` or the name of an errno",
     if_any<&Attempt::answer>},
    {"other_tokens", "KMODGUARD_OTHER_TOKEN",
     "what those that were counted asked for, where it was other names that nothing answers to; 64 at "
     "most, in the journal a field for each",
     if_any<&Attempt::other_tokens>},
    {"note", "KMODGUARD_NOTE", "anything else", if_any<&Attempt::note>},
    {"trial", "KMODGUARD_TRIAL", "`kmodctl doctor` made the attempt, to see whether it is refused",
     [](const Attempt& attempt, Output& out) { write_if_any(out, is_trial(attempt)); }},
    {"withheld", "KMODGUARD_WITHHELD",
     "process point: the rules allow it and nothing was done, since the caller had not the right to "
     "(`note` says which)",
     if_any<&Attempt::withheld>},
}};

inline constexpr std::array<Field<EarlierCall>, 3> earlier_call_fields = {{
    {"after.call", "KMODGUARD_AFTER_CALL",
     "the call by which the same attempt was made before: a compressed file that was to be handed over "
     "decompressed",
     always<&EarlierCall::call>},
    {"after.file", "KMODGUARD_AFTER_FILE", "its file", if_any<&EarlierCall::file>},
    {"after.answer", "KMODGUARD_AFTER_ANSWER", "what was returned to its caller",
     if_any<&EarlierCall::answer>},
}};

inline constexpr std::array<Field<Requester>, 8> requester_fields = {{
    {"requester.pid", "KMODGUARD_REQUESTER_PID",
     "the process that loads, or on whose behalf the kernel asks; recorded by the kernel point, in the "
     "initial namespaces, and by the process point, in kmodctl's. At the guest point it is the guest's, "
     "and of the rest nothing is known",
     always<&Requester::pid>},
    {"requester.uid", "KMODGUARD_REQUESTER_UID",
     "null (and no field) of a kernel thread, and at the guest point", always<&Requester::uid>},
    {"requester.user_namespace", "KMODGUARD_REQUESTER_USER_NAMESPACE",
     "its inode number; 0 where it is not known", always<&Requester::user_namespace>},
    {"requester.comm", "KMODGUARD_REQUESTER_COMM", "the program's name, which the process may choose",
     always<&Requester::command>},
    {"requester.exe", "KMODGUARD_REQUESTER_EXE", "the program's file", always<&Requester::executable>},
    {"requester.cgroup", "KMODGUARD_REQUESTER_CGROUP", "its path", always<&Requester::cgroup>},
    {"requester.container", "KMODGUARD_REQUESTER_CONTAINER",
     "the outermost cgroup that has an engine's name; below `user.slice`, and below services that are no "
     "container engine, any process may have given the name, and it means nothing",
     always<&Requester::container>},
    {"requester.kernel_thread", "KMODGUARD_REQUESTER_KERNEL_THREAD", "it is a thread of the kernel",
     if_any<&Requester::kernel_thread>},
}};

inline constexpr std::array<Field<Change>, 7> change_fields = {{
    time_field<Change>,
    {"change", "KMODGUARD_CHANGE",
     "`allow`, `deny`, `remove`, `apply`, `mode`, `reload`, `arm`, `disarm`, `stop`, `seal`: kmodctl's "
     "verb of that name; `end`: a signal ended the daemon; `connect`: a process that is not root was "
     "turned away; `handler`: `kernel.modprobe` was changed from outside; `mode-end`: the time of a "
     "limited mode is over; `publish`: what is wanted could not be published, or was after that; "
     "`withdraw`: modules that depmod's files would have the kernel point admit are refused there, since "
     "their images have a denied alias that those files lack",
     if_any<&Change::action>},
    {"argument", "KMODGUARD_ARGUMENT",
     "a module, `audit 1800`, `discard`; of `handler` the program that the kernel runs now, of `mode-end` "
     "and `publish` the mode, of `withdraw` the modules",
     if_any<&Change::argument>, always<&Change::argument>},
    {"result", "KMODGUARD_RESULT", "`done` or `failed`",
     [](const Change& change, Output& out) { out.text(change.error ? "failed" : "done"); }},
    {"error", "KMODGUARD_ERROR", "why it failed", if_any<&Change::error>},
    generation_field<Change>,
    {"repeated", "KMODGUARD_REPEATED",
     "`connect`: those of the last second that were counted and not recorded", if_any<&Change::repeated>},
}};

inline constexpr std::array<Field<sys::ProcessIdentity>, 4> process_fields = {{
    {"by.pid", "KMODGUARD_BY_PID",
     "the process that asked: of a request to the daemon the one that connected, of `end`, and of a "
     "`reload` by SIGHUP, the one that sent the signal. Absent where no process asked, or none is known",
     always<&sys::ProcessIdentity::pid>},
    {"by.uid", "KMODGUARD_BY_UID", "its user", always<&sys::ProcessIdentity::uid>},
    {"by.comm", "KMODGUARD_BY_COMM", "the program's name, which the process may choose",
     always<&sys::ProcessIdentity::command>},
    {"by.login_uid", "KMODGUARD_BY_LOGIN_UID",
     "the user who logged in, whatever `sudo` made of him since; null (and no field) where no user has",
     always<&sys::ProcessIdentity::login_uid>},
}};

inline constexpr std::array<Field<SealRefusal>, 5> seal_fields = {{
    time_field<SealRefusal>,
    {"point", "KMODGUARD_POINT", "`kernel`", [](const SealRefusal&, Output& out) { out.text("kernel"); }},
    generation_field<SealRefusal>,
    {"reason", "KMODGUARD_REASON", "`sealed`", [](const SealRefusal&, Output& out) { out.text("sealed"); }},
    {"forbidden", "KMODGUARD_FORBIDDEN", "what was tried, and is not possible before the machine restarts",
     always<&SealRefusal::forbidden>},
}};

inline constexpr std::array<Field<Tampering>, 5> tampering_fields = {{
    time_field<Tampering>,
    {"point", "KMODGUARD_POINT", "`kernel`", [](const Tampering&, Output& out) { out.text("kernel"); }},
    generation_field<Tampering>,
    {"reason", "KMODGUARD_REASON", "`tampered`", [](const Tampering&, Output& out) { out.text("tampered"); }},
    {"found", "KMODGUARD_FOUND", "what is not as kmodguard left it, and whether that was put right",
     always<&Tampering::found>},
}};

inline constexpr std::array<Field<Loss>, 2> loss_fields = {{
    time_field<Loss>,
    {"lost", "KMODGUARD_LOST", "attempts and changes that have no event and were not counted by any",
     [](const Loss& loss, Output& out) { write_value(out, loss.count); }},
}};

/// Calls `visit(fields, of)` with each list of the fields of an event of this type. `of` is nullptr where the
/// event has not what they are of; where `event` itself is, only the lists are gone through.
template <typename Visit>
void visit_fields(const Attempt* event, Visit&& visit) {
    visit(heading<Attempt>, event);
    visit(occasion_fields, event);
    visit(decision_fields, event != nullptr ? &event->decision : nullptr);
    visit(attempt_fields, event);
    visit(repetition_fields<Attempt>, event);
    visit(earlier_call_fields, event != nullptr && event->after ? &*event->after : nullptr);
    visit(requester_fields, event != nullptr && event->requester ? &*event->requester : nullptr);
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
