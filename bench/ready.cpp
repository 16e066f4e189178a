// SPDX-License-Identifier: AGPL-3.0-only
//
// ready REPEAT PROGRAM [ARGUMENT...]: runs the daemon so often and prints, for each time, the nanoseconds
// from before the fork to the byte that says that it serves. Static and alone in a file, because it runs
// inside the test machine, where a shell's clock would be too coarse.
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

namespace {

constexpr int ready_descriptor = 9;

long long now() {
    timespec time{};
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1'000'000'000LL + time.tv_nsec;
}

/// Starts the program, waits until it is ready, kills it. The nanoseconds it took, -1 if it never was ready.
long long start_once(const std::vector<char*>& arguments) {
    int ends[2];
    if (pipe(ends) != 0) return -1;
    const long long before = now();
    const pid_t child = fork();
    if (child == 0) {
        close(ends[0]);
        dup2(ends[1], ready_descriptor);
        close(ends[1]);
        execv(arguments.front(), arguments.data());
        _exit(127);
    }
    close(ends[1]);
    char byte = 0;
    const bool ready = read(ends[0], &byte, 1) == 1;
    const long long taken = now() - before;
    close(ends[0]);
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    return ready ? taken : -1;
}

} // namespace

int main(int count, char** arguments) {
    if (count < 3) return 2;
    const std::string descriptor = "--ready-fd=" + std::to_string(ready_descriptor);
    std::vector<char*> command(arguments + 2, arguments + count);
    command.push_back(const_cast<char*>(descriptor.c_str()));
    command.push_back(nullptr);
    for (int i = std::atoi(arguments[1]); i > 0; --i) {
        const long long taken = start_once(command);
        if (taken < 0) return 1;
        std::printf("%lld\n", taken);
    }
}
