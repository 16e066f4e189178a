// SPDX-License-Identifier: AGPL-3.0-only
//
// The child reports over a socket: first the listener, or in words why there is none. Then it waits for one
// byte, and if none comes, since the other end is gone, it ends. Then it reports an errno, only if the
// program could not be started. When it could, the socket is gone with the rest of what is close-on-exec.
#include "enforce/process/launch.hpp"

#include "sys/unix_socket.hpp"

#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace kmodguard::process {
namespace {

constexpr int could_not_run = 127; // it is not seen: the parent has had its report

[[noreturn]] void become(std::vector<char*>& words, const FilterProgram& filter, const sigset_t& signals,
                         int socket) {
    const auto listener = install_filter(filter);
    if (!listener) {
        std::string text = listener.error().what;
        if (!listener.error().hint.empty()) text += "\n  hint: " + listener.error().hint;
        ::send(socket, text.data(), text.size(), MSG_NOSIGNAL);
        ::_exit(could_not_run);
    }
    static_cast<void>(
        sys::send_descriptor(socket, "filtered", listener->get())); // else it is not told to go on
    char go = 0;
    if (::recv(socket, &go, sizeof go, 0) != sizeof go) ::_exit(could_not_run);
    ::sigprocmask(SIG_SETMASK, &signals, nullptr);
    ::execvp(words[0], words.data());
    const int error = errno;
    ::send(socket, &error, sizeof error, MSG_NOSIGNAL);
    ::_exit(could_not_run);
}

} // namespace

sys::Result<Launched> Launched::create(const std::vector<std::string>& command, const FilterProgram& filter,
                                       const sigset_t& signals) {
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0)
        return sys::system_failure("cannot create", "a socket");
    sys::UniqueFd ours(ends[0]);
    sys::UniqueFd theirs(ends[1]);
    std::vector<std::string> texts = command;
    std::vector<char*> words;
    for (std::string& text : texts)
        words.push_back(text.data());
    words.push_back(nullptr);

    const pid_t pid = ::fork();
    if (pid < 0) return sys::system_failure("cannot start", command.front());
    if (pid == 0) {
        ours.reset(); // or it would wait for itself when the other end is gone
        become(words, filter, signals, theirs.get());
    }
    theirs.reset();
    sys::UniqueFd process(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    Launched launched(pid, std::move(process), std::move(ours), command.front());
    if (!launched.process_) return sys::system_failure("cannot watch", command.front());
    std::array<char, 512> text{};
    auto filtered = TRY(sys::receive(launched.reports_, text));
    if (!filtered || filtered->descriptors.empty()) {
        std::string why(text.data(), filtered ? filtered->bytes : 0);
        return sys::failure(sys::ErrorKind::failed,
                            why.empty() ? "the child gave no seccomp listener" : std::move(why));
    }
    launched.listener = std::move(filtered->descriptors.front());
    return launched;
}

sys::Result<void> Launched::go() {
    const char go = 1;
    if (::send(reports_.get(), &go, sizeof go, MSG_NOSIGNAL) != sizeof go)
        return sys::system_failure("cannot start", name_);
    int code = 0;
    std::array<char, sizeof code> bytes{};
    const auto failed = TRY(sys::receive(reports_, bytes));
    if (!failed || failed->bytes != sizeof code) { // its end is closed
        reports_.reset();
        return {};
    }
    std::memcpy(&code, bytes.data(), sizeof code);
    sys::Error error = sys::system_error("cannot run", name_, code);
    error.hint = code == EACCES ? "is it a program, and executable?" : "";
    return std::unexpected(std::move(error));
}

Launched::~Launched() {
    if (!reports_) return; // it was let go, or moved from
    ::kill(pid_, SIGKILL); // it has not been waited for: the number is still its own
    ::waitpid(pid_, nullptr, 0);
}

} // namespace kmodguard::process
