// SPDX-License-Identifier: AGPL-3.0-only
//
// What every verb gets: the paths, a way to the daemon, the one way to print, and the exit codes. A verb
// prints twice over, as text for people and as JSON for programs, and only one of the two appears.
#pragma once

#include "core/decision.hpp"
#include "events/event.hpp"
#include "events/json.hpp"
#include "protocol/message.hpp"
#include "sys/paths.hpp"
#include "sys/result.hpp"

#include <string>
#include <string_view>

namespace kmodguard::ctl {

/// Scripts rely on them (kmodctl(8), EXIT STATUS).
enum ExitCode : int {
    exit_done = 0, ///< done, or allowed
    exit_failed = 1,
    exit_usage = 2,
    exit_refused = 3, ///< refused by policy
    exit_not_found = 4,
    exit_unreachable = 5, ///< the daemon
    exit_bad_policy = 6,
    exit_not_blocked = 7, ///< refused by policy, and in the kernel all the same, since it is built in
};
[[nodiscard]] ExitCode exit_code_of(sys::ErrorKind kind);

struct Context {
    std::string verb; ///< "" while it is not known
    sys::Paths paths;
    bool json = false;
    bool colour = false;

    /// A line for people; nothing with --json.
    void text(std::string_view line) const;
    /// An object for programs; nothing without --json.
    void object(events::Json::Object object) const;
    /// Something worth knowing that is no failure: on standard error, or as {"warning": ...}.
    void warn(std::string_view message) const;
    /// The error on standard error, and the exit code that goes with it.
    [[nodiscard]] int fail(const sys::Error& error) const;
    /// An error unless root runs this.
    [[nodiscard]] sys::Result<void> require_root() const;
    /// `message` as text and as {"result": message}, and exit_done.
    [[nodiscard]] int done(std::string_view message) const;
    /// `word` in the colour of the verdict, where there is colour.
    [[nodiscard]] std::string coloured(core::Verdict verdict, std::string_view word) const;

    [[nodiscard]] sys::Result<protocol::Answer> ask(std::string_view daemon_verb,
                                                    std::string argument = "") const;
    /// The same for what changes something: waits until it is done, and warns if that takes long.
    [[nodiscard]] sys::Result<protocol::Answer> ask_for_change(std::string_view daemon_verb,
                                                               std::string argument = "") const;
    /// The same, with what is to be warned of in the answer, and done() with its text.
    [[nodiscard]] sys::Result<int> ask_for_change_and_print(std::string_view daemon_verb,
                                                            std::string argument = "") const;
    /// Warns of what the daemon warns of in `answer`, and of policy files that are newer than what is in
    /// force.
    void warn_as(const protocol::Answer& answer) const;

    /// The process of the daemon that answers; ErrorKind::unreachable: none does.
    [[nodiscard]] sys::Result<pid_t> daemon_process() const;

    /// Records that this process itself has done `action`, or why it has not: in the daemon, which knows who
    /// asks, and where none answers in the system's log.
    void record(events::Action action, const sys::Error* error = nullptr) const;
    /// The same for something that failed, and fail().
    [[nodiscard]] int record_failure(events::Action action, const sys::Error& error) const;
};

} // namespace kmodguard::ctl
