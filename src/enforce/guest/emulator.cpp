// SPDX-License-Identifier: AGPL-3.0-only
#include "enforce/guest/emulator.hpp"

#include "sys/unix_socket.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <system_error>

namespace kmodguard::guest {
namespace {

constexpr std::string_view socket_name = "debugger.sock";

/// Whether `word` is QEMU's option `name`, which may have one dash or two.
bool is_option(std::string_view word, std::string_view name) {
    if (!word.starts_with('-')) return false;
    word.remove_prefix(word.starts_with("--") ? 2 : 1);
    return word == name;
}

/// Whether only this process's user, and root, can put something else in its place. It is not so if a root
/// shell has kept the environment of the user that it was started by (su, sudo -E).
bool is_ours(const char* directory) {
    struct stat status{};
    return ::lstat(directory, &status) == 0 && S_ISDIR(status.st_mode) && status.st_uid == ::geteuid()
           && (status.st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

std::filesystem::path runtime_directory() {
    const char* directory =
        std::getenv("XDG_RUNTIME_DIR"); // NOLINT(concurrency-mt-unsafe): before any thread
    return directory != nullptr && *directory == '/' && is_ours(directory) ? directory : "/tmp";
}

} // namespace

sys::Result<StubSocket> StubSocket::create(const std::filesystem::path& directory) {
    std::error_code failed;
    const auto parent =
        directory.empty() ? runtime_directory() : std::filesystem::absolute(directory, failed);
    std::string folder = (parent / "kmodguard-guest-XXXXXX").string();
    if (::mkdtemp(folder.data()) == nullptr)
        return sys::system_failure("cannot make a folder in", parent.string());
    constexpr mode_t owner_only = 0600;
    auto listener = sys::listen_unix(std::filesystem::path(folder) / socket_name, owner_only, 1);
    if (!listener) {
        std::error_code ignored;
        std::filesystem::remove(folder, ignored);
        return std::unexpected(listener.error());
    }
    return StubSocket(std::filesystem::path(folder) / socket_name, std::move(*listener));
}

StubSocket::~StubSocket() {
    if (path_.empty()) return; // moved from
    std::error_code ignored;
    std::filesystem::remove(path_, ignored);
    std::filesystem::remove(path_.parent_path(), ignored);
}

sys::Result<sys::Child> start_emulator(std::vector<std::string> command, const StubSocket& socket,
                                       const sigset_t& signals) {
    for (const std::string_view word : command)
        if (is_option(word, "gdb") || is_option(word, "s"))
            return sys::failure(sys::ErrorKind::invalid,
                                fmt::format("the emulator's {} is not possible here", word),
                                "its debugger's stub has room for one, and that is kmodctl");
    if (has_option(command, "daemonize"))
        return sys::failure(sys::ErrorKind::invalid, "the emulator's -daemonize is not possible here",
                            "kmodctl guards it as long as it runs; put kmodctl into the background instead");
    const int fd = socket.listener().get();
    if (::fcntl(fd, F_SETFD, 0) != 0) return sys::system_failure("cannot hand on", "the debugger's socket");
    const auto chardev = fmt::format("socket,id=kmodguard,fd={},server=on,wait=off", fd);
    command.insert(command.end(), {"-S", "-chardev", chardev, "-gdb", "chardev:kmodguard"});
    auto child = sys::start_child(std::move(command), signals);
    ::fcntl(fd, F_SETFD, FD_CLOEXEC);
    return child;
}

bool has_option(const std::vector<std::string>& command, std::string_view option) {
    return std::ranges::any_of(command,
                               [option](const std::string& word) { return is_option(word, option); });
}

std::string option_of(const std::vector<std::string>& command, std::string_view option) {
    for (std::size_t i = command.size(); i-- > 1;) // the last one counts
        if (is_option(command[i - 1], option)) return command[i];
    return "";
}

} // namespace kmodguard::guest
