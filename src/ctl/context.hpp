// SPDX-License-Identifier: AGPL-3.0-only
//
// What every verb gets: the paths, a way to the daemon, and the one way to print. A verb prints twice over,
// as text for people and as JSON for programs, and only one of the two appears.
#pragma once

#include "core/decision.hpp"
#include "ctl/exit_code.hpp"
#include "events/json.hpp"
#include "protocol/message.hpp"
#include "sys/paths.hpp"
#include "sys/result.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace kmodguard::ctl {

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
    /// Each field called `key` as such a warning.
    void warn_all(const protocol::Answer& answer, std::string_view key) const;
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
    /// Warns of what the daemon warns of in `answer`, and of policy files that are newer than what is in
    /// force.
    void warn_as(const protocol::Answer& answer) const;
    /// Asks for a change, prints the answer's text, and returns the exit code.
    [[nodiscard]] sys::Result<int> change_and_print(std::string_view daemon_verb,
                                                    std::string argument = "") const;
};

} // namespace kmodguard::ctl
