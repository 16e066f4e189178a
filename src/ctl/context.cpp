// SPDX-License-Identifier: AGPL-3.0-only
#include "ctl/context.hpp"

#include "protocol/answers.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>

namespace kmodguard::ctl {

void Context::text(std::string_view line) const {
    if (!json) fmt::print("{}\n", line);
}

void Context::object(events::Json::Object object) const {
    if (json) fmt::print("{}\n", events::Json(std::move(object)).line());
}

void Context::warn(std::string_view message) const {
    if (json)
        object({{"warning", message}});
    else
        fmt::print(stderr, "kmodctl: warning: {}\n", message);
}

void Context::warn_all(const protocol::Answer& answer, std::string_view key) const {
    for (const protocol::Field& field : answer.fields)
        if (field.key == key) warn(field.value);
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

void Context::warn_as(const protocol::Answer& answer) const {
    warn_all(answer, "warning");
    std::string newer;
    for (const protocol::Field& field : answer.fields) {
        if (field.key == protocol::newer_file_key) newer += (newer.empty() ? "" : ", ") + field.value;
    }
    if (!newer.empty())
        warn(fmt::format("changed since the policy in force was read: {}; kmodctl reload reads it", newer));
}

sys::Result<int> Context::change_and_print(std::string_view daemon_verb, std::string argument) const {
    const auto answer = TRY(ask_for_change(daemon_verb, std::move(argument)));
    warn_as(answer);
    return done(answer.text);
}

} // namespace kmodguard::ctl
