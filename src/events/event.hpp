// SPDX-License-Identifier: AGPL-3.0-only
//
// All that is recorded: attempts, changes of the guard, what the seal has refused, what was tampered with,
// and what was lost. Every sink gets the same variant, and all that a field is called is in one list
// (fields.hpp). `message_id` identifies a type in the journal: journalctl MESSAGE_ID=...
// (data/kmodguard.catalog); losses have none.
#pragma once

#include "core/decision.hpp"
#include "sys/process.hpp"

#include <sys/types.h>

#include <chrono>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace kmodguard::events {

using WallClock = std::chrono::system_clock;

/// The process that made an attempt, as far as a point can see it. The autoload point alone cannot know:
/// there a thread of the kernel asks, on behalf of a process that it does not name; the kernel point sees
/// which one made it ask.
struct Requester {
    pid_t pid = 0;                    ///< in the initial namespace; of a guest, in the guest
    std::optional<uid_t> uid = {};    ///< in the initial user namespace; none of a guest or a kernel thread
    std::uint32_t user_namespace = 0; ///< inode number; 0: not known
    bool kernel_thread = false;       ///< of no process: it asks on behalf of one that it does not name
    std::string command = {};
    std::string executable = {}; ///< as its mount namespace has it; ".../" where the beginning is missing
    std::string cgroup = {};
    std::string container = {}; ///< its id; "" if the cgroup names none

    auto operator<=>(const Requester&) const = default;
};

/// The container's id in a cgroup path, as docker, podman, containerd, CRI-O and LXC name them; "" if none,
/// or if a process in it may have named it: below a user's own cgroups, a service's that is no container
/// engine, another container's, or where the beginning of the path is missing.
[[nodiscard]] std::string container_of_cgroup(std::string_view cgroup);

/// For people, one printable line: "sh[42], uid 1000".
[[nodiscard]] std::string describe(const Requester& by);

/// A system call that loads a module, or takes one out.
enum class ModuleCall : std::uint8_t { init_module, finit_module, delete_module, other };
[[nodiscard]] std::string_view to_string(ModuleCall call); ///< "init_module"

/// The call by which the same program has tried the same before, in a form that it was not to be taken in:
/// compressed.
struct EarlierCall {
    std::string call;
    std::string file;
    std::string answer;
};

/// One attempt to load a module, or to take one out: the same at every enforcement point.
struct Attempt {
    static constexpr std::string_view message_id = "6f0c3d5d0a2f4f0c9a4b7d1e52c8e9a1";

    /// A request by name where there is no `call`, else the call that brings an image or takes a module out.
    /// Where it is judged later, `judged` is what is recorded if it never is. It is made now.
    Attempt(core::Point where, std::uint64_t policy, core::Decision judged, std::string_view by_call = "")
        : point(where), generation(policy), decision(std::move(judged)), call(by_call) {}

    WallClock::time_point time = WallClock::now();
    core::Point point;
    std::uint64_t generation; ///< of the policy that judged
    core::Decision decision;
    std::optional<Requester> requester;
    std::string call;                   ///< the system call; "" for requests
    std::string file;                   ///< that the image came from, where it did
    std::string parameters;             ///< of the module, where they were seen
    std::optional<core::Sha256> sha256; ///< of the image, where it was hashed
    std::string answer;         ///< what was returned to the caller: "0", "EPERM"; "" where that is not known
    std::uint64_t repeated = 0; ///< earlier attempts of the same kind that were counted, not recorded
    /// When the first of these was made; nothing where that is not known.
    std::optional<WallClock::time_point> repeated_since;
    std::vector<std::string> other_tokens; ///< that these asked for, where nothing answers to any of them
    std::optional<EarlierCall> after;
    std::uint64_t image_size = 0; ///< bytes that were handed over; 0: not known
    /// The answer asks for the same image in another form, and libkmod then hands it over decompressed.
    bool other_form_wanted = false;
    std::string note;       ///< anything else worth knowing
    bool powerless = false; ///< its caller could load nothing at all, and may try as often as it likes
    /// The rules allow it, and still nothing was done: its caller had not the right to, as `note` says.
    bool withheld = false;
};

/// What the attempt was about, for a headline: what was asked for, or the module that an image holds, or the
/// file that it came from; "an image" where nothing is known. Printable.
[[nodiscard]] std::string subject_of(const Attempt& attempt);

/// Whether it is a trial of `kmodctl doctor`: its canary, or its request for a name that nothing has, by a
/// process of that name of the machine's own root. Root could imitate it, and gains no more than that what is
/// refused is no warning.
[[nodiscard]] bool is_trial(const Attempt& attempt);

/// Whether the attempt is one to call attention to: refused, let pass by audit mode alone, or
/// withheld. A name that nothing answers to is not, for nothing would have been loaded: a kernel's ciphers
/// ask for dozens of those at each boot. Nor is a trial.
[[nodiscard]] bool is_notable(const Attempt& attempt);

/// What is returned to the caller of a call that is enforced as refused, by the policy: EPERM or, where it
/// pretends, 0, which is noted.
[[nodiscard]] int answer_refused(Attempt& attempt, core::CallerAnswer answer);

/// Whether the answer has the caller try again by another call, with the same image in another form: what was
/// compressed, decompressed.
[[nodiscard]] bool asks_for_other_form(const Attempt& attempt);

/// What a log that cannot keep up loses first.
enum class Importance {
    routine,  ///< any process can bring it about, any number of times: requests that are refused, powerless
              ///< callers
    important ///< what was loaded or let pass, images of those that can load, the seal, changes of the guard
};
[[nodiscard]] Importance importance_of(const Attempt& attempt);

enum class Action {
    allow,
    deny,
    remove,
    apply,
    mode,
    reload,
    arm,
    disarm,
    stop, ///< kmodctl stop
    seal,
    end,      ///< a signal ended the daemon
    connect,  ///< a process that may not ask was turned away
    handler,  ///< kernel.modprobe names another program than the one that was armed
    mode_end, ///< the time of a limited mode is over
    publish,  ///< what is wanted could not be published, or was after that
    withdraw, ///< modules whose images have a denied alias, which depmod's files lack, are refused as well
};

[[nodiscard]] std::string_view to_string(Action action); ///< "mode-end"
[[nodiscard]] std::optional<Action> action_from(std::string_view text);

/// One change of the guard itself, or one that was tried: by which process, and whether it was made.
struct Change {
    static constexpr std::string_view message_id = "a2d4c1f07be94a63b4f5e9d1c0378e52";

    /// Made now; of what was not done, `why`.
    Change(Action what, std::uint64_t policy, std::optional<std::string> why = std::nullopt)
        : action(what), error(std::move(why)), generation(policy) {}

    WallClock::time_point time = WallClock::now();
    Action action;
    std::string argument;                   ///< what it was done to: a module's name, "audit 1800"
    std::optional<std::string> error;       ///< why it was not done; nothing: it was
    std::uint64_t generation;               ///< of the policy in force afterwards; 0: not known
    std::optional<sys::ProcessIdentity> by; ///< nothing: the daemon itself, or not known
    std::uint64_t repeated = 0;             ///< earlier ones of the same kind that were counted, not recorded
};

/// Whether it is one to call attention to: it failed, or it was made by another program than kmodguard's.
[[nodiscard]] bool is_notable(const Change& change);

/// Something that the seal forbids until the machine restarts, and that a process has tried.
struct SealRefusal {
    static constexpr std::string_view message_id = "360633a2094c4cda9340601b1ec5ed40";

    SealRefusal(std::uint64_t policy, std::string what, Requester who)
        : generation(policy), forbidden(std::move(what)), requester(std::move(who)) {}

    WallClock::time_point time = WallClock::now();
    std::uint64_t generation; ///< of the policy in force
    std::string forbidden;    ///< "changing kernel.modprobe"
    std::optional<Requester> requester;
    std::uint64_t repeated = 0; ///< as of an Attempt
    std::optional<WallClock::time_point> repeated_since;
};

/// Something of kmodguard's that is not as it left it.
struct Tampering {
    static constexpr std::string_view message_id = "68f492eeda31438b8494add9336a02cb";

    Tampering(std::uint64_t policy, std::string what) : generation(policy), found(std::move(what)) {}

    WallClock::time_point time = WallClock::now();
    std::uint64_t generation; ///< of the policy in force
    std::string found;        ///< a sentence: "kernel.ftrace_enabled is 0, and the programs do not run"
};

/// Attempts and changes that have no event.
struct Loss {
    static constexpr std::string_view message_id{};

    std::size_t count = 0;
    WallClock::time_point time = WallClock::now();
};

/// One line of modules.log: the path, or the name, of an image that a process tried to load.
struct LogLine {
    std::string text;
    std::string container; ///< in which the attempt was made; "" where in none
};

/// Lines of modules.log that are missing there.
struct LogLineLoss {
    std::size_t count = 0;
};

using Event = std::variant<Attempt, Change, SealRefusal, Tampering, Loss, LogLine, LogLineLoss>;

/// Calls `use` with what `event` is, and returns true; false if it goes to modules.log, and nowhere else.
template <typename Use>
bool visit_logged(const Event& event, Use use) {
    const auto one = [&use]<typename Type>(const Type& logged) {
        constexpr bool is_line = std::is_same_v<Type, LogLine> || std::is_same_v<Type, LogLineLoss>;
        if constexpr (!is_line) use(logged);
        return !is_line;
    };
    return std::visit(one, event);
}

/// Of syslog(3): LOG_WARNING for what is to be looked at.
[[nodiscard]] int priority_of(const Attempt& attempt);
[[nodiscard]] int priority_of(const Change& change);
[[nodiscard]] int priority_of(const SealRefusal& refusal);
[[nodiscard]] int priority_of(const Tampering& tampering);
[[nodiscard]] int priority_of(const Loss& loss);

/// One line for people, also the journal's MESSAGE: "autoload net-pf-9: refused: ...", "mode audit: done (by
/// kmodctl[812], uid 0, login uid 1000)".
[[nodiscard]] std::string summary(const Attempt& attempt);
[[nodiscard]] std::string summary(const Change& change);
[[nodiscard]] std::string summary(const SealRefusal& refusal);
[[nodiscard]] std::string summary(const Tampering& tampering);
[[nodiscard]] std::string summary(const Loss& loss);

/// By container or user, for whose events room is kept: "container 0123", "user 1000"; "" of what no process
/// brought about, or a process that is not known.
[[nodiscard]] std::string originator_of(const std::optional<Requester>& by);
[[nodiscard]] std::string originator_of(const Event& event);

/// How many attempts or changes it represents.
[[nodiscard]] std::uint64_t count_of(const Event& event);

/// Bytes of memory that it has beside its own size: of its texts and lists.
[[nodiscard]] std::size_t memory_beside(const Event& event);

} // namespace kmodguard::events
