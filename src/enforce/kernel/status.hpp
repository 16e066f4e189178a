// SPDX-License-Identifier: AGPL-3.0-only
//
// What there is to know of the kernel point. Support: whether this machine's kernel can have it, and by which
// means. Status: what is enforced; made by the daemon (kernel_point.hpp), and by kmodctl of what is pinned
// (pinned.hpp). States and problems are enums; their words for the control socket and their sentences for
// people are tables in status.cpp.
#pragma once

#include "enforce/kernel/layout.hpp"
#include "protocol/message.hpp"
#include "sys/paths.hpp"
#include "sys/result.hpp"

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace kmodguard::kernel {

enum class Mechanism : std::uint8_t {
    lsm,      ///< programs of the BPF security module
    fmod_ret, ///< programs that override the functions in which the kernel asks its security modules
};

[[nodiscard]] std::string_view to_string(Mechanism mechanism); ///< "lsm", "fmod_ret"

enum class State : std::uint8_t {
    inactive,   ///< nothing is judged in the kernel
    active,     ///< and a daemon looks after it
    unattended, ///< it enforces what it has, and no daemon looks after it
    unknown,    ///< to who asks: `problem` says why
};

/// Why it is not active, or not as it should be.
enum class Problem : std::uint8_t {
    none,
    other_root,      ///< this process is not about this machine's own root
    no_modules,      ///< the kernel loads none
    no_types,        ///< the kernel has no BTF
    confidentiality, ///< lockdown keeps programs from reading images
    left_out,        ///< the policy's points leave it out
    no_daemon,       ///< and nothing is pinned
    pins_missing,    ///< some of the pins are there, and no daemon
    audit,           ///< the daemon ended and left it in audit mode
    tracing_off,     ///< kernel.ftrace_enabled keeps the programs from running
    not_root,        ///< only root can tell
    failed,          ///< as Status::error says
};

/// Whether it is one of the machine's, which no policy and no new start can help.
[[nodiscard]] constexpr bool is_unsupported(Problem problem) {
    return problem >= Problem::other_root && problem <= Problem::confidentiality;
}

/// What is weaker on this kernel than on others.
enum class Note : std::uint8_t {
    no_securityfs, ///< whether bpf is an active security module is not known
    bpf_inactive,  ///< it is not
    may_skip,      ///< of two loads at one instant, one may go unjudged
};

struct Support {
    Mechanism mechanism = Mechanism::lsm;
    Problem problem = Problem::none;  ///< why it cannot be enforced; none if it can
    std::vector<Note> notes;          ///< what is weaker here than elsewhere
    bool kernel_decompresses = false; ///< the kernel takes compressed images

    [[nodiscard]] bool may_skip() const;
};
[[nodiscard]] Support inspect(const sys::Paths& paths);

/// Of the running kernel: 0 keeps all of the kernel point's programs from running.
inline constexpr const char* tracing_setting = "/proc/sys/kernel/ftrace_enabled";
/// Whether it is 0. False where the kernel has no such setting.
[[nodiscard]] bool is_tracing_off();

/// What happened in the kernel since the programs were loaded.
struct Counters {
    std::uint64_t allowed = 0;
    std::uint64_t refused = 0;
    std::uint64_t audited = 0;      ///< let pass by audit mode alone
    std::uint64_t requests = 0;     ///< passed on to the hook
    std::uint64_t remembered = 0;   ///< requests refused without it
    std::uint64_t unattributed = 0; ///< requests passed on without a record of who made them
    std::uint64_t lost = 0;         ///< attempts that have no record and were not counted
    std::uint64_t skipped = 0;      ///< runs that the kernel left out (Note::may_skip): loads were not judged
};

/// One of the counters.
struct Counter {
    std::string_view name; ///< in STATUS and JSON
    std::uint64_t Counters::* value;
    std::optional<guard_counter> index; ///< in the programs' map; nothing: the kernel counts it
    std::string_view shown;             ///< what people read after the number; "" if only a warning names it
};
inline constexpr std::array<Counter, 8> counter_table = {{
    {"allowed", &Counters::allowed, GUARD_ALLOWED, "allowed"},
    {"refused", &Counters::refused, GUARD_REFUSED, "refused"},
    {"audited", &Counters::audited, GUARD_AUDITED, "audited"},
    {"requests", &Counters::requests, GUARD_REQUESTS, ""},
    {"remembered", &Counters::remembered, GUARD_REMEMBERED, "requests refused unasked"},
    {"unattributed", &Counters::unattributed, GUARD_UNATTRIBUTED, ""},
    {"lost", &Counters::lost, GUARD_LOST, ""},
    {"skipped", &Counters::skipped, std::nullopt, ""},
}};
static_assert(sizeof(Counters) == counter_table.size() * sizeof(std::uint64_t), "a row for each member");
static_assert(counter_table.size() == GUARD_COUNTERS + 1, "a row for each counter of the programs");

struct Status {
    State state = State::inactive;
    Problem problem = Problem::none;
    sys::Error error = {}; ///< what and what to do, where `problem` is failed
    std::vector<Note> notes = {};

    // The others are of one that is enforced.
    std::optional<Mechanism> mechanism = {};
    bool sealed = false;
    bool audit = false;                           ///< the policy in the kernel refuses nothing
    bool this_build = false;                      ///< the programs are those of this very build
    std::optional<std::uint64_t> generation = {}; ///< of its policy; of a sealed one only the daemon knows
    std::optional<std::uint64_t> modules = {};    ///< that it admits; only the daemon knows
    Counters counters = {};

    /// Whether what is loaded is judged in the kernel.
    [[nodiscard]] bool is_enforced() const { return state == State::active || state == State::unattended; }
};

/// The problem as a sentence, and what to do about it; both empty if there is none.
[[nodiscard]] sys::Error error_of(Problem problem);
[[nodiscard]] sys::Error error_of(const Status& status);

struct NoteText {
    std::string_view what;
    std::string_view remedy; ///< "" if there is none
};
[[nodiscard]] NoteText text_of(Note note);

/// As lines of the answer to STATUS (docs/PROTOCOL.md), and back. Whatever the answer says, a status comes of
/// it: one of State::unknown where it has no state that this version knows, and a problem that it does not
/// know is a failure of that name.
[[nodiscard]] std::vector<protocol::Field> fields_of(const Status& status);
[[nodiscard]] Status status_of(const protocol::Answer& answer);

} // namespace kmodguard::kernel
