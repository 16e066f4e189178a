// SPDX-License-Identifier: AGPL-3.0-only
//
// The child reports over a socket: first the listener, or why there is none. Then it waits for one byte, and
// if none comes, since the other end is gone, it ends. Then it reports, only if the program could not be
// started, why. When it could, the socket is gone with the rest of what is close-on-exec.
#include "enforce/process/launch.hpp"

#include "sys/unix_socket.hpp"

#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace kmodguard::process {
namespace {

constexpr int could_not_run = 127; // it is not seen: the parent has had its report

/// One report: an errno with a description, and a descriptor if there is one.
struct Report {
    int error = 0;
    sys::UniqueFd descriptor;
    std::string text;
};

void send_report(int socket, const std::string& text, int error, int descriptor) {
    int code = error;
    std::string words = text;
    std::array<iovec, 2> pieces{
        {{.iov_base = &code, .iov_len = sizeof code}, {.iov_base = words.data(), .iov_len = words.size()}}};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
    msghdr message{};
    message.msg_iov = pieces.data();
    message.msg_iovlen = pieces.size();
    if (descriptor >= 0) {
        message.msg_control = control.data();
        message.msg_controllen = control.size();
        cmsghdr* header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof descriptor);
        std::memcpy(CMSG_DATA(header), &descriptor, sizeof descriptor);
    }
    ::sendmsg(socket, &message, MSG_NOSIGNAL);
}

/// The next report; one without error and descriptor when the child's end is closed.
sys::Result<Report> receive_report(const sys::UniqueFd& socket) {
    Report report;
    std::array<char, 512> bytes{};
    auto received = TRY(sys::receive(socket, bytes));
    const std::size_t size = received ? received->bytes : 0;
    if (size < sizeof report.error) return report;
    std::memcpy(&report.error, bytes.data(), sizeof report.error);
    report.text.assign(bytes.data() + sizeof report.error, size - sizeof report.error);
    if (!received->descriptors.empty()) report.descriptor = std::move(received->descriptors.front());
    return report;
}

[[noreturn]] void become(std::vector<char*>& words, const FilterProgram& filter, const sigset_t& signals,
                         int socket) {
    const auto listener = install_filter(filter);
    if (!listener) {
        std::string text = listener.error().what;
        if (!listener.error().hint.empty()) text += "\n  hint: " + listener.error().hint;
        send_report(socket, text, EPERM, -1);
        ::_exit(could_not_run);
    }
    send_report(socket, "", 0, listener->get());
    char go = 0;
    if (::recv(socket, &go, sizeof go, 0) != sizeof go) ::_exit(could_not_run);
    ::sigprocmask(SIG_SETMASK, &signals, nullptr);
    ::execvp(words[0], words.data());
    send_report(socket, "", errno, -1);
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
    auto filtered = TRY(receive_report(launched.reports_));
    if (!filtered.descriptor)
        return sys::failure(sys::ErrorKind::failed,
                            filtered.text.empty() ? "the child gave no seccomp listener" : filtered.text);
    launched.listener = std::move(filtered.descriptor);
    return launched;
}

sys::Result<void> Launched::go() {
    const char go = 1;
    if (::send(reports_.get(), &go, sizeof go, MSG_NOSIGNAL) != sizeof go)
        return sys::system_failure("cannot start", name_);
    const auto ran = TRY(receive_report(reports_));
    if (ran.error == 0) {
        reports_.reset();
        return {};
    }
    sys::Error error = sys::system_error("cannot run", name_, ran.error);
    error.hint = ran.error == EACCES ? "is it a program, and executable?" : "";
    return std::unexpected(std::move(error));
}

Launched::~Launched() {
    if (!reports_) return; // it was let go, or moved from
    ::kill(pid_, SIGKILL); // it has not been waited for: the number is still its own
    ::waitpid(pid_, nullptr, 0);
}

} // namespace kmodguard::process
