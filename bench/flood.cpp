// SPDX-License-Identifier: AGPL-3.0-only
//
// Many clients of the daemon at once, each like the hook: it connects, asks, takes the answer until the
// daemon hangs up, and begins again.
//
//   flood ask SOCKET CLIENTS REQUESTS FILE   asks for the tokens in FILE, a line each, over and over; prints
//   the
//                                            nanoseconds that it took
//   flood answer SOCKET                      the least that can answer them: it looks who asks, and refuses
//                                            whatever it is; prints a line when it listens
//
// What is answered by an error, or not at all, ends it with one.
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace {

[[noreturn]] void die(const char* what) {
    std::perror(what);
    std::_Exit(1);
}

sockaddr_un address_of(const char* path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    return address;
}

const sockaddr* generic(const sockaddr_un& address) {
    return reinterpret_cast<const sockaddr*>(&address);
}

void ask(const sockaddr_un& address, const std::string& token) {
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || ::connect(fd, generic(address), sizeof address) != 0) die("connect");
    const std::string request = "AUTOLOAD " + token + "\n";
    if (::send(fd, request.data(), request.size(), 0) != static_cast<ssize_t>(request.size())) die("send");
    std::string answer;
    char buffer[4096];
    for (ssize_t size = 0; (size = ::recv(fd, buffer, sizeof buffer, 0)) > 0;)
        answer.append(buffer, static_cast<std::size_t>(size));
    if (!answer.ends_with('\n') || answer.starts_with("ERR")) {
        std::fprintf(stderr, "no answer to %s: %s\n", token.c_str(), answer.c_str());
        std::_Exit(1);
    }
    ::close(fd);
}

void ask_all(const char* socket, std::size_t clients, std::size_t requests,
             const std::vector<std::string>& tokens) {
    const sockaddr_un address = address_of(socket);
    std::atomic<std::size_t> asked{0};
    std::vector<std::jthread> threads;
    for (std::size_t i = 0; i < clients; ++i)
        threads.emplace_back([&] {
            for (std::size_t number = asked++; number < requests; number = asked++)
                ask(address, tokens[number % tokens.size()]);
        });
}

void watch(int loop, int fd, std::uint64_t data) {
    epoll_event event{.events = EPOLLIN, .data = {.u64 = data}};
    if (::epoll_ctl(loop, EPOLL_CTL_ADD, fd, &event) != 0) die("epoll_ctl");
}

[[noreturn]] void answer_all(const char* path) {
    const sockaddr_un address = address_of(path);
    const int listener = ::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (::bind(listener, generic(address), sizeof address) != 0 || ::listen(listener, 512) != 0) die(path);
    const int loop = ::epoll_create1(0);
    std::puts("ready");
    std::fflush(stdout);
    constexpr std::uint64_t new_client = ~std::uint64_t{0};
    watch(loop, listener, new_client);
    const auto answer = [](int fd) {
        char request[4097];
        const ssize_t size = ::recv(fd, request, sizeof request, 0);
        if (size < 0 && errno == EAGAIN) return false;
        if (size > 0) ::send(fd, "DENY\n", 5, MSG_NOSIGNAL);
        ::close(fd);
        return true;
    };
    while (true) {
        epoll_event events[64];
        const int count = ::epoll_wait(loop, events, 64, -1);
        for (int i = 0; i < count; ++i) {
            if (events[i].data.u64 != new_client) {
                answer(static_cast<int>(events[i].data.u64));
                continue;
            }
            for (int fd = -1; (fd = ::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK)) >= 0;) {
                ucred who{};
                socklen_t length = sizeof who;
                ::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &length);
                if (!answer(fd)) watch(loop, fd, static_cast<std::uint64_t>(fd));
            }
        }
    }
}

} // namespace

int main(int count, char** arguments) {
    const std::string_view verb = count > 2 ? arguments[1] : "";
    if (verb == "answer") answer_all(arguments[2]);
    if (verb != "ask" || count != 6) return 2;
    std::vector<std::string> tokens;
    std::ifstream file(arguments[5]);
    for (std::string line; std::getline(file, line);)
        tokens.push_back(line);
    if (tokens.empty()) die(arguments[5]);
    const auto begin = std::chrono::steady_clock::now();
    ask_all(arguments[2], std::strtoul(arguments[3], nullptr, 10), std::strtoul(arguments[4], nullptr, 10),
            tokens);
    const std::chrono::nanoseconds taken = std::chrono::steady_clock::now() - begin;
    std::printf("%lld\n", static_cast<long long>(taken.count()));
}
