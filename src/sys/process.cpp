// SPDX-License-Identifier: AGPL-3.0-only
#include "sys/process.hpp"

#include "sys/file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <malloc.h>
#include <poll.h>
#include <spawn.h>
#include <sys/capability.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <array>
#include <charconv>
#include <csignal>
#include <limits>
#include <memory>

extern "C" { // glibc 2.36's header does not say so itself
#include <sys/pidfd.h>
}

namespace kmodguard::sys {
namespace {

constexpr std::size_t max_output = 65536;

std::vector<char*> pointers(std::vector<std::string>& command) {
    std::vector<char*> result;
    for (std::string& word : command)
        result.push_back(word.data());
    result.push_back(nullptr);
    return result;
}

/// posix_spawn(3)'s settings, released at the end.
struct SpawnSettings {
    posix_spawn_file_actions_t actions{};
    posix_spawnattr_t attributes{};
    SpawnSettings() {
        posix_spawn_file_actions_init(&actions);
        posix_spawnattr_init(&attributes);
    }
    SpawnSettings(const SpawnSettings&) = delete;
    SpawnSettings& operator=(const SpawnSettings&) = delete;
    ~SpawnSettings() {
        posix_spawn_file_actions_destroy(&actions);
        posix_spawnattr_destroy(&attributes);
    }
};

struct Pipe {
    UniqueFd read;
    UniqueFd write;
};

Result<Pipe> make_pipe() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) return system_failure("cannot create", "a pipe");
    return Pipe{UniqueFd(ends[0]), UniqueFd(ends[1])};
}

Result<pid_t> spawn(std::vector<std::string>& command, const SpawnSettings& settings) {
    pid_t pid = 0;
    const auto words = pointers(command);
    const int error =
        ::posix_spawnp(&pid, words[0], &settings.actions, &settings.attributes, words.data(), environ);
    if (error != 0) return system_failure("cannot run", command.front(), error);
    return pid;
}

int status_of(pid_t pid) {
    int status = 0;
    while (::waitpid(pid, &status, 0) < 0)
        if (errno != EINTR) return -1;
    constexpr int signalled = 128; // as shells report it
    return WIFEXITED(status) ? WEXITSTATUS(status) : signalled + WTERMSIG(status);
}

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

Result<Finished> run_program(const std::vector<std::string>& command) {
    auto pipe = TRY(make_pipe());
    SpawnSettings settings;
    posix_spawn_file_actions_adddup2(&settings.actions, pipe.write.get(), STDOUT_FILENO);
    std::vector<std::string> words = command;
    const auto pid = TRY(spawn(words, settings));
    pipe.write.reset();
    Finished finished;
    std::array<char, 4096> buffer; // NOLINT(cppcoreguidelines-pro-type-member-init): read() fills it
    while (true) {
        const ssize_t count = ::read(pipe.read.get(), buffer.data(), buffer.size());
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) break;
        if (finished.output.size() < max_output)
            finished.output.append(buffer.data(), static_cast<std::size_t>(count));
    }
    finished.status = status_of(pid);
    return finished;
}

Result<void> start_daemon(std::vector<std::string> command, std::chrono::milliseconds timeout) {
    auto pipe = TRY(make_pipe());
    constexpr int ready_fd = 3;
    SpawnSettings settings;
    posix_spawn_file_actions_adddup2(&settings.actions, pipe.write.get(), ready_fd);
    posix_spawnattr_setflags(&settings.attributes, POSIX_SPAWN_SETSID);
    command.push_back(std::to_string(ready_fd));
    const auto pid = TRY(spawn(command, settings));
    pipe.write.reset();
    pollfd ready{.fd = pipe.read.get(), .events = POLLIN, .revents = 0};
    const int polled = ::poll(&ready, 1, static_cast<int>(timeout.count()));
    char line = '\0';
    if (polled > 0 && ::read(pipe.read.get(), &line, 1) == 1) return {};
    if (polled == 0) {
        ::kill(pid, SIGKILL);
        status_of(pid);
        return failure(ErrorKind::failed, fmt::format("{} was not ready in time", command.front()));
    }
    return failure(ErrorKind::failed,
                   fmt::format("{} ended at once, with status {}", command.front(), status_of(pid)));
}

Result<Child> start_child(std::vector<std::string> command, const sigset_t& signals, const UniqueFd& given) {
    constexpr int given_as = 3;
    SpawnSettings settings;
    if (given) posix_spawn_file_actions_adddup2(&settings.actions, given.get(), given_as);
    posix_spawnattr_setsigmask(&settings.attributes, &signals);
    posix_spawnattr_setflags(&settings.attributes, POSIX_SPAWN_SETSIGMASK);
    const auto pid = TRY(spawn(command, settings));
    Child child{.pid = pid, .process = UniqueFd(::pidfd_open(pid, 0))};
    if (child.process) return child;
    const Error error = system_error("cannot watch", command.front());
    ::kill(child.pid, SIGKILL); // it has not been waited for: the number is still its own
    status_of(child.pid);
    return std::unexpected(error);
}

Result<Ending> wait_for(const UniqueFd& process) {
    siginfo_t info{};
    while (::waitid(P_PIDFD, static_cast<id_t>(process.get()), &info, WEXITED) != 0)
        if (errno != EINTR) return system_failure("cannot wait for", "the command");
    return Ending{.signalled = info.si_code != CLD_EXITED, .number = info.si_status};
}

Result<void> terminate(pid_t pid, std::chrono::milliseconds timeout) {
    const UniqueFd process(::pidfd_open(pid, 0));
    if (!process) return system_failure("cannot find", fmt::format("process {}", pid));
    if (::pidfd_send_signal(process.get(), SIGTERM, nullptr, 0) != 0)
        return system_failure("cannot stop", fmt::format("process {}", pid));
    pollfd ended{.fd = process.get(), .events = POLLIN, .revents = 0};
    if (::poll(&ended, 1, static_cast<int>(timeout.count())) <= 0)
        return failure(ErrorKind::failed, fmt::format("process {} does not end", pid),
                       fmt::format("kill -KILL {}", pid));
    return {};
}

Result<void> drop_all_capabilities() {
    for (cap_value_t capability = 0; capability < cap_max_bits(); ++capability)
        if (cap_drop_bound(capability) != 0 && errno != EPERM)
            return system_failure("cannot drop", "the capability bounding set");
    if (cap_reset_ambient() != 0) return system_failure("cannot drop", "ambient capabilities");
    const std::unique_ptr<void, int (*)(void*)> none(cap_init(), cap_free);
    if (!none || cap_set_proc(static_cast<cap_t>(none.get())) != 0)
        return system_failure("cannot drop", "capabilities");
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return system_failure("cannot set", "no_new_privs");
    return {};
}

Result<void> keep_capabilities(const std::vector<std::string_view>& names) {
    const std::unique_ptr<void, int (*)(void*)> now(cap_get_proc(), cap_free);
    const std::unique_ptr<void, int (*)(void*)> kept(cap_init(), cap_free);
    if (!now || !kept) return system_failure("cannot read", "the capabilities of this process");
    for (const std::string_view name : names) {
        cap_value_t capability = 0;
        if (cap_from_name(std::string(name).c_str(), &capability) != 0)
            return failure(ErrorKind::invalid, "there is no capability " + std::string(name));
        cap_flag_value_t permitted = CAP_CLEAR;
        cap_get_flag(static_cast<cap_t>(now.get()), capability, CAP_PERMITTED, &permitted);
        for (const cap_flag_t set : {CAP_PERMITTED, CAP_EFFECTIVE})
            cap_set_flag(static_cast<cap_t>(kept.get()), set, 1, &capability, permitted);
    }
    if (cap_set_proc(static_cast<cap_t>(kept.get())) != 0)
        return system_failure("cannot drop", "capabilities");
    return {};
}

void give_back_freed_memory() {
    ::mallopt(M_ARENA_MAX, 1);
    ::mallopt(M_MMAP_THRESHOLD, 128 * 1024);
}

} // namespace kmodguard::sys
