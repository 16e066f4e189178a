// SPDX-License-Identifier: AGPL-3.0-only
//
// client PATH: connects to the unix socket at PATH, sends it standard input and prints what it answers, until
// it hangs up.
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstring>

namespace {

/// Moves what is there. False at the end, or where nobody takes it: who hangs up may have answered before.
bool move_some(int from, int to) {
    char buffer[65536];
    const ssize_t count = read(from, buffer, sizeof buffer);
    return count > 0 && write(to, buffer, static_cast<size_t>(count)) == count;
}

} // namespace

int main(int count, char** arguments) {
    if (count != 2) return 2;
    signal(SIGPIPE, SIG_IGN);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    strncpy(address.sun_path, arguments[1], sizeof address.sun_path - 1);
    const int server = socket(AF_UNIX, SOCK_STREAM, 0);
    if (connect(server, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
        perror(arguments[1]);
        return 1;
    }
    pollfd ends[] = {{server, POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}};
    while (poll(ends, 2, -1) > 0) {
        if (ends[0].revents != 0 && !move_some(server, STDOUT_FILENO)) return 0;
        if (ends[1].revents != 0 && !move_some(STDIN_FILENO, server)) ends[1].fd = -1;
    }
    return 1;
}
