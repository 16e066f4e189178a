// SPDX-License-Identifier: AGPL-3.0-only
#include "enforce/autoload/hook/hook.hpp"

#include "enforce/autoload/hook/hook_parts.hpp"
#include "sys/unique_fd.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <optional>
#include <span>
#include <string_view>

namespace kmodguard::autoload {
namespace {

constexpr std::size_t max_token = 2048; ///< core/names.hpp
/// The request, and the same after a file of its answer has changed.
constexpr std::string_view verb = "AUTOLOAD ";
constexpr std::string_view verb_again = "REJUDGE ";

/// A socket of `type` that is connected to `path`. Empty if nothing listens there, or not in time.
sys::UniqueFd connect_unix(const char* path, int type, const timeval& send_timeout = {}) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    sys::UniqueFd socket(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
    const auto* generic =
        reinterpret_cast<const sockaddr*>(&address); // NOLINT(*-reinterpret-cast): socket API
    if (::setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &send_timeout, sizeof send_timeout) != 0
        || ::connect(socket.get(), generic, sizeof address) != 0)
        return {};
    return socket;
}

bool send_to_syslog(const char* path, std::string_view message) {
    const sys::UniqueFd socket = connect_unix(path, SOCK_DGRAM | SOCK_NONBLOCK);
    return socket && ::send(socket.get(), message.data(), message.size(), MSG_NOSIGNAL) >= 0;
}

void write_to_kernel_log(const char* path, std::string_view message) {
    const sys::UniqueFd log(::open(path, O_WRONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
    if (!log) return;
    [[maybe_unused]] const ssize_t written = ::write(log.get(), message.data(), message.size());
}

/// The one argument that is no option. Empty if there is none, or more than one.
std::string_view token_of(std::span<char* const> arguments) {
    std::string_view token;
    bool options = true;
    for (const std::string_view argument : arguments) {
        if (options && argument == "--")
            options = false;
        else if (options && argument == "-q")
            continue;
        else if (!token.empty())
            return {};
        else
            token = argument;
    }
    return token;
}

/// Whether the daemon could be asked about it at all; it judges the rest, an encoding for example.
bool fits_a_line(std::string_view token) {
    return token.size() <= max_token
           && std::ranges::none_of(token, [](char c) { return static_cast<unsigned char>(c) < 0x20; });
}

/// The time left of the seconds the daemon may take.
class Deadline {
  public:
    explicit Deadline(int seconds) : end_(now() + seconds * std::int64_t{1'000'000}) {}
    [[nodiscard]] timeval left() const {
        const std::int64_t micros = std::max<std::int64_t>(end_ - now(), 1);
        return {.tv_sec = micros / 1'000'000, .tv_usec = micros % 1'000'000};
    }
    [[nodiscard]] bool passed() const { return now() >= end_; }

  private:
    static std::int64_t now() {
        timespec time{};
        // Not by the vDSO, whose function is looked up first, and whose three pages cost more than the call.
        ::syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &time);
        return time.tv_sec * std::int64_t{1'000'000} + time.tv_nsec / 1000;
    }
    std::int64_t end_;
};

bool send_request(const sys::UniqueFd& socket, Asked asked, std::string_view token) {
    const auto part = [](std::string_view text) {
        char* start = const_cast<char*>(text.data()); // NOLINT(*-const-cast): it is sent, and not written to
        return iovec{.iov_base = start, .iov_len = text.size()};
    };
    const std::string_view asking = asked == Asked::again ? verb_again : verb;
    std::array<iovec, 3> line{part(asking), part(token), part("\n")};
    msghdr message{};
    message.msg_iov = line.data();
    message.msg_iovlen = line.size();
    const std::size_t length = asking.size() + token.size() + 1;
    return ::sendmsg(socket.get(), &message, MSG_NOSIGNAL) == static_cast<ssize_t>(length);
}

enum class Outcome { none, ok, deny, error };

Outcome outcome_of(std::string_view line) {
    if (line == "OK" || line.starts_with("OK ")) return Outcome::ok;
    if (line == "DENY" || line.starts_with("DENY ")) return Outcome::deny;
    if (line == "ERR" || line.starts_with("ERR ")) return Outcome::error;
    return Outcome::none;
}

constexpr std::size_t max_answer = 65536; ///< protocol::max_plan

/// The daemon's whole answer. Static, and so small at first that it is in the page that all other data take:
/// what is larger would be a mapping of its own in each process that is started to be refused.
class DaemonAnswer {
  public:
    void clear() { length_ = 0; }
    /// Where the next bytes go; empty if no more are taken.
    std::span<char> room() {
        if (length_ == first_.size() && grown_ == nullptr) grow();
        return {text() + length_, (grown_ != nullptr ? max_answer : first_.size()) - length_};
    }
    void add(std::size_t count) { length_ += count; } ///< so many bytes are there now
    std::span<char> lines() { return {text(), length_}; }

    [[nodiscard]] std::string_view last_line() {
        if (length_ == 0 || text()[length_ - 1] != '\n') return {};
        const std::string_view all(text(), length_ - 1);
        const std::size_t newline = all.rfind('\n');
        return newline == std::string_view::npos ? all : all.substr(newline + 1);
    }
    [[nodiscard]] Outcome outcome() { return outcome_of(last_line()); }

  private:
    char* text() { return grown_ != nullptr ? grown_ : first_.data(); }
    void grow() {
        void* mapped =
            ::mmap(nullptr, max_answer, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (mapped == MAP_FAILED) return; // what comes does not fit, then
        grown_ = static_cast<char*>(mapped);
        std::memcpy(grown_, first_.data(), length_);
    }

    std::size_t length_ = 0;
    char* grown_ = nullptr; ///< never given back: the process ends
    std::array<char, 2048> first_{};
};

/// Takes what there is, and the descriptors that come with the first byte (SCM_RIGHTS, unix(7)). What may not
/// be open here is not there.
ssize_t receive_some(const sys::UniqueFd& socket, DaemonAnswer& answer, Images& images) {
    const std::span<char> room = answer.room();
    iovec into{.iov_base = room.data(), .iov_len = room.size()};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * max_images)> control{};
    msghdr message{};
    message.msg_iov = &into;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    const ssize_t count = ::recvmsg(socket.get(), &message, MSG_CMSG_CLOEXEC);
    const cmsghdr* const header = count > 0 ? CMSG_FIRSTHDR(&message) : nullptr;
    if (header == nullptr || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
        return count;
    const std::size_t sent = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < std::min(sent, images.size()); ++i) {
        int descriptor = -1;
        std::memcpy(&descriptor, CMSG_DATA(header) + i * sizeof descriptor, sizeof descriptor);
        images[i].reset(descriptor);
    }
    return count;
}

/// Receives until the answer is whole. False if that does not happen in time, or it does not fit.
bool receive(const sys::UniqueFd& socket, const Deadline& deadline, DaemonAnswer& answer, Images& images) {
    while (!answer.room().empty() && !deadline.passed()) {
        const timeval left = deadline.left();
        if (::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &left, sizeof left) != 0) return false;
        const ssize_t count = receive_some(socket, answer, images);
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) return false;
        answer.add(static_cast<std::size_t>(count));
        if (answer.outcome() != Outcome::none) return true;
    }
    return false;
}

/// Whether the administrator's break-glass on the kernel's command line (kmodguard.mode=audit or off; the
/// last one counts) lets requests pass that are not judged.
bool break_glass(const HookPaths& paths) {
    constexpr std::string_view key = "kmodguard.mode=";
    std::array<char, 4096> buffer; // NOLINT(cppcoreguidelines-pro-type-member-init): read() fills it
    const sys::UniqueFd file(::open(paths.kernel_command_line, O_RDONLY | O_CLOEXEC));
    const ssize_t count = file ? ::read(file.get(), buffer.data(), buffer.size()) : 0;
    std::string_view line(buffer.data(), count > 0 ? static_cast<std::size_t>(count) : 0);
    std::string_view mode;
    while (!line.empty()) {
        const std::size_t end = std::min(line.find_first_of(" \n"), line.size());
        if (line.starts_with(key)) mode = line.substr(key.size(), end - key.size());
        line.remove_prefix(std::min(end + 1, line.size()));
    }
    return mode == "audit" || mode == "off";
}

int without_daemon(std::span<char* const> arguments, std::string_view token, const HookPaths& paths) {
    if (break_glass(paths)) {
        log_message(paths, {"passed ", token,
                            " to the original handler: no daemon, and kmodguard.mode on the command line"});
        exec_original(paths, arguments);
    }
    log_message(paths, {"refused ", token, ": the daemon does not answer"});
    return hook_unreachable;
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

namespace {

/// Asks, and does as it is answered. Nothing: a file has changed since it was judged, so it is to ask again.
std::optional<int> serve(std::span<char* const> arguments, std::string_view token, const HookPaths& paths,
                         Asked asked) {
    static DaemonAnswer answer;
    answer.clear();
    Images images;
    const Deadline deadline(paths.answer_seconds);
    const sys::UniqueFd socket = connect_unix(paths.socket, SOCK_STREAM, deadline.left());
    if (!socket || !send_request(socket, asked, token) || !receive(socket, deadline, answer, images))
        return without_daemon(arguments, token, paths);
    switch (answer.outcome()) {
    case Outcome::ok:
        switch (run_plan(answer.lines(), images, token, paths, asked)) {
        case PlanResult::done: return hook_done;
        case PlanResult::failed: return hook_failed;
        case PlanResult::outdated: return std::nullopt;
        }
        return hook_failed;
    case Outcome::deny: return hook_refused;
    default: log_message(paths, {"refused ", token, ": ", answer.last_line()}); return hook_failed;
    }
}

} // namespace

int run_hook(std::span<char* const> arguments, const HookPaths& paths) {
    const std::string_view token = token_of(arguments);
    if (token.empty()) {
        log_message(paths, {"refused a request without exactly one name"});
        return hook_usage;
    }
    if (!fits_a_line(token)) {
        log_message(paths, {"refused ", token.substr(0, 64), "...: not a valid module name or alias"});
        return hook_refused;
    }
    const std::optional<int> result = serve(arguments, token, paths, Asked::once);
    return result ? *result : serve(arguments, token, paths, Asked::again).value_or(hook_failed);
}

} // namespace kmodguard::autoload
