// SPDX-License-Identifier: AGPL-3.0-only
#include "enforce/autoload/hook/message_log.hpp"

#include "sys/unique_fd.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstring>

namespace kmodguard::autoload {
namespace {

bool send_to_syslog(const char* path, std::string_view message) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    const sys::UniqueFd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const auto* generic =
        reinterpret_cast<const sockaddr*>(&address); // NOLINT(*-reinterpret-cast): socket API
    return socket && ::connect(socket.get(), generic, sizeof address) == 0
           && ::send(socket.get(), message.data(), message.size(), MSG_NOSIGNAL) >= 0;
}

void write_to_kernel_log(const char* path, std::string_view message) {
    const sys::UniqueFd log(::open(path, O_WRONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
    if (!log) return;
    [[maybe_unused]] const ssize_t written = ::write(log.get(), message.data(), message.size());
}

} // namespace

void log_message(const HookPaths& paths, std::initializer_list<std::string_view> parts) {
    std::array<char, 1024> text; // NOLINT(cppcoreguidelines-pro-type-member-init): filled up to `length`
    std::size_t length = 0;
    const auto append = [&](std::string_view part) {
        for (const char c : part.substr(0, text.size() - length))
            text[length++] = c >= 0x20 && c < 0x7F ? c : '?';
    };
    append("<84>kmodguard-hook: "); // authpriv (10), warning (4): RFC 5424, 6.2.1
    for (const std::string_view part : parts)
        append(part);
    const std::string_view message(text.data(), length);
    if (!send_to_syslog(paths.syslog, message)) write_to_kernel_log(paths.kernel_log, message);
}

std::string_view error_text(int code) {
    return ::strerror(code);
}

} // namespace kmodguard::autoload
