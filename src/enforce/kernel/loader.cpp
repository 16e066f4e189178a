// SPDX-License-Identifier: AGPL-3.0-only
#include "enforce/kernel/loader.hpp"

#include "sys/process.hpp"

#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdlib>
#include <string>

namespace kmodguard::kernel {
namespace {

constexpr std::size_t max_answer = 4096;

/// The child: it waits for one byte, and answers nothing, or what went wrong.
[[noreturn]] void serve(int channel, const LoadOptions& options) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    std::string answer;
    char word = 0;
    const auto kept = sys::keep_capabilities({"cap_bpf", "cap_perfmon"});
    if (::read(channel, &word, 1) != 1) ::_exit(EXIT_SUCCESS);
    auto done = kept ? load_programs(options) : kept;
    if (!done) answer = done.error().what + "\n" + done.error().hint;
    answer.resize(std::min(answer.size(), max_answer));
    [[maybe_unused]] const ssize_t sent = ::send(channel, answer.data(), answer.size(), MSG_NOSIGNAL);
    ::_exit(done ? EXIT_SUCCESS : EXIT_FAILURE);
}

} // namespace

sys::Result<Loader> Loader::start(const LoadOptions& options) {
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0)
        return sys::system_failure("cannot create", "a pair of sockets");
    sys::UniqueFd mine(ends[0]);
    sys::UniqueFd theirs(ends[1]);
    const pid_t child = ::fork();
    if (child < 0) return sys::system_failure("cannot fork", "the loader");
    if (child == 0) {
        mine.reset();
        serve(theirs.get(), options);
    }
    return Loader(child, std::move(mine));
}

Loader::Loader(Loader&& other) noexcept
    : child_(std::exchange(other.child_, -1)), channel_(std::move(other.channel_)) {}

Loader::~Loader() {
    channel_.reset();
    wait();
}

void Loader::wait() {
    if (child_ > 0)
        while (::waitpid(child_, nullptr, 0) < 0 && errno == EINTR) {
        }
    child_ = -1;
}

sys::Result<void> Loader::load() {
    if (::send(channel_.get(), "l", 1, MSG_NOSIGNAL) != 1)
        return sys::system_failure("cannot reach", "the loader");
    std::string answer;
    std::array<char, 512> piece{};
    while (answer.size() < max_answer) {
        const ssize_t got = ::read(channel_.get(), piece.data(), piece.size());
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) break;
        answer.append(piece.data(), static_cast<std::size_t>(got));
    }
    int status = -1;
    while (::waitpid(child_, &status, 0) < 0 && errno == EINTR) {
    }
    child_ = -1;
    if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS) return {};
    if (answer.empty()) answer = "the process that loads the kernel point's programs ended early";
    const auto line = answer.find('\n');
    return sys::failure(sys::ErrorKind::failed, answer.substr(0, line),
                        line == std::string::npos ? "" : answer.substr(line + 1));
}

} // namespace kmodguard::kernel
