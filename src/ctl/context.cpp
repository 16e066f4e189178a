// SPDX-License-Identifier: AGPL-3.0-only
#include "ctl/context.hpp"

#include "events/sinks.hpp"
#include "protocol/answers.hpp"
#include "sys/unix_socket.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace kmodguard::ctl {

ExitCode exit_code_of(sys::ErrorKind kind) {
    switch (kind) {
    case sys::ErrorKind::not_found: return exit_not_found;
    case sys::ErrorKind::unreachable: return exit_unreachable;
    case sys::ErrorKind::bad_policy: return exit_bad_policy;
    case sys::ErrorKind::invalid: return exit_usage;
    default: return exit_failed;
    }
}

void Context::text(std::string_view line) const {
    if (!json) fmt::print("{}\n", line);
}

void Context::object(events::Json::Object object) const {
    if (json) fmt::print("{}\n", events::Json(std::move(object)).line());
}

void Context::warn(std::string_view message) const {
    object({{"warning", message}});
    if (!json) fmt::print(stderr, "kmodctl: warning: {}\n", message);
}

int Context::fail(const sys::Error& error) const {
    const int code = exit_code_of(error.kind);
    if (json) {
        object({{"error", error.what}, {"hint", error.hint}, {"exit", std::int64_t{code}}});
        return code;
    }
    std::fflush(stdout); // NOLINT(cert-err33-c): best effort, so that the order on a terminal is right
    fmt::print(stderr, "kmodctl{}{}: {}\n", verb.empty() ? "" : " ", verb, error.what);
    if (!error.hint.empty()) fmt::print(stderr, "  hint: {}\n", error.hint);
    return code;
}

sys::Result<void> Context::require_root() const {
    if (::geteuid() == 0) return {};
    return sys::failure(sys::ErrorKind::denied, "only root may do this", "try sudo kmodctl " + verb);
}

int Context::done(std::string_view message) const {
    text(message);
    object({{"result", message}});
    return exit_done;
}

std::string Context::coloured(core::Verdict verdict, std::string_view word) const {
    if (!colour) return std::string(word);
    return fmt::format("\x1b[{}m{}\x1b[0m", verdict == core::Verdict::allow ? "32" : "31", word);
}

sys::Result<protocol::Answer> Context::ask(std::string_view daemon_verb, std::string argument) const {
    return protocol::ask(paths.socket(), {std::string(daemon_verb), std::move(argument)});
}

sys::Result<protocol::Answer> Context::ask_for_change(std::string_view daemon_verb,
                                                      std::string argument) const {
    return protocol::ask(paths.socket(), {std::string(daemon_verb), std::move(argument)},
                         protocol::default_timeout,
                         [this] { warn("the daemon is busy; waiting until it has done this"); });
}

sys::Result<int> Context::ask_for_change_and_print(std::string_view daemon_verb, std::string argument) const {
    const auto answer = TRY(ask_for_change(daemon_verb, std::move(argument)));
    warn_as(answer);
    return done(answer.text);
}

void Context::warn_as(const protocol::Answer& answer) const {
    std::vector<std::string_view> newer;
    for (const protocol::Field& field : answer.fields) {
        if (field.key == "warning") warn(field.value);
        if (field.key == protocol::newer_file_key) newer.push_back(field.value);
    }
    if (!newer.empty())
        warn(fmt::format("changed since the policy in force was read: {}; kmodctl reload reads it",
                         fmt::join(newer, ", ")));
}

sys::Result<pid_t> Context::daemon_process() const {
    const auto connection = TRY(sys::connect_unix(paths.socket(), std::chrono::seconds(1)));
    const auto peer = TRY(sys::peer_of(connection));
    return peer.pid;
}

void Context::record(events::Action action, const sys::Error* error) const {
    constexpr std::chrono::seconds max_wait{
        1}; // a daemon that hangs must not keep the guard from being stopped
    std::string argument(to_string(action));
    if (error != nullptr) argument += " " + error->what.substr(0, protocol::max_request / 2);
    std::ranges::replace(argument, '\n', ' '); // a request is one line
    const auto recorded = protocol::ask(paths.socket(), {"RECORD", argument}, max_wait);
    if (recorded || paths.moved()) return;
    events::Change change(action, 0, error != nullptr ? std::optional(error->what) : std::nullopt);
    change.by = sys::identify_process(::getpid(), ::geteuid());
    const auto sink = events::has_journal() ? events::journal_sink() : events::syslog_sink();
    const events::Event event(std::move(change));
    sink->write({&event, 1});
}

int Context::record_failure(events::Action action, const sys::Error& error) const {
    record(action, &error);
    return fail(error);
}

} // namespace kmodguard::ctl
