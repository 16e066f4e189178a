// SPDX-License-Identifier: AGPL-3.0-only
#include "sys/process_identity.hpp"

#include "sys/file.hpp"

#include <charconv>
#include <limits>

namespace kmodguard::sys {
namespace {

/// What a session of no user has there (AUDIT_UID_UNSET, audit.h).
constexpr uid_t no_login = std::numeric_limits<uid_t>::max();

std::optional<uid_t> login_uid_in(const std::filesystem::path& file) {
    constexpr std::size_t max_size = 32;
    const auto text = read_pseudo_file(file, max_size);
    if (!text) return std::nullopt;
    uid_t uid = no_login;
    const char* end = text->data() + text->size();
    const auto [rest, error] = std::from_chars(text->data(), end, uid);
    const bool whole = error == std::errc{} && (rest == end || *rest == '\n');
    return whole && uid != no_login ? std::optional(uid) : std::nullopt;
}

} // namespace

ProcessIdentity identify_process(pid_t pid, uid_t uid, const std::filesystem::path& proc) {
    const auto directory = proc / std::to_string(pid);
    std::string command = read_pseudo_file(directory / "comm").value_or("");
    if (command.ends_with('\n')) command.pop_back();
    return {.pid = pid,
            .uid = uid,
            .command = std::move(command),
            .login_uid = login_uid_in(directory / "loginuid")};
}

} // namespace kmodguard::sys
