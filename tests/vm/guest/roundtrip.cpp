// SPDX-License-Identifier: AGPL-3.0-only
// What a supervised system call costs: finit_module of one file, over and over, with the time of each. Under
// "bare" this program is supervised by itself, by a loop that receives a notification and answers EPERM
// without a look: less than that no supervisor can do. Under "call" it only calls, for whoever supervises it;
// under "first" each call is the first of a new process.
//
//   roundtrip bare|call|first REPEAT FILE
//
// It prints a line a call, "RESULT NANOSECONDS".
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <vector>

namespace {

[[noreturn]] void die(const char* what) {
    std::perror(what);
    std::exit(2);
}

long long now() {
    timespec time{};
    ::clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1'000'000'000LL + time.tv_nsec;
}

struct Sample {
    int result;
    long long time;
};

Sample call_once(int file) {
    const long long begin = now();
    const long result = ::syscall(SYS_finit_module, file, "", 0);
    return {result == 0 ? 0 : errno, now() - begin};
}

int open_image(const char* path) {
    const int file = ::open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) die(path);
    return file;
}

int print(const Sample* samples, int count) {
    for (int i = 0; i < count; ++i)
        std::printf("%s %lld\n", samples[i].result == 0 ? "ok" : strerrorname_np(samples[i].result),
                    samples[i].time);
    return 0;
}

int call(int repeat, const char* path) {
    const int file = open_image(path);
    std::vector<Sample> samples(static_cast<std::size_t>(repeat));
    for (Sample& sample : samples)
        sample = call_once(file);
    return print(samples.data(), repeat);
}

int first_calls(int repeat, const char* path) {
    const int file = open_image(path);
    void* shared = ::mmap(nullptr, sizeof(Sample) * static_cast<std::size_t>(repeat), PROT_READ | PROT_WRITE,
                          MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) die("mmap");
    auto* samples = static_cast<Sample*>(shared);
    for (int i = 0; i < repeat; ++i) {
        const pid_t child = ::fork();
        if (child < 0) die("fork");
        if (child == 0) {
            samples[i] = call_once(file);
            ::_exit(0);
        }
        ::waitpid(child, nullptr, 0);
    }
    return print(samples, repeat);
}

int filter_finit_module() {
    std::array<sock_filter, 4> program{{
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_finit_module, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    }};
    const sock_fprog filter{.len = program.size(), .filter = program.data()};
    ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    const long listener =
        ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &filter);
    if (listener < 0) die("seccomp");
    return static_cast<int>(listener);
}

void answer(int listener) {
    seccomp_notif call{};
    if (::ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &call) != 0) return;
    seccomp_notif_resp response{.id = call.id, .val = 0, .error = -EPERM, .flags = 0};
    ::ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &response);
}

/// The child has no descriptor to send yet when it makes the filter; pidfd_getfd fetches it, by its number.
int bare(int repeat, const char* path) {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) die("pipe2");
    const pid_t child = ::fork();
    if (child < 0) die("fork");
    if (child == 0) {
        const int listener = filter_finit_module();
        if (::write(ends[1], &listener, sizeof listener) != sizeof listener) die("write");
        const int code = call(repeat, path);
        std::fflush(stdout);
        ::_exit(code);
    }
    int theirs = -1;
    if (::read(ends[0], &theirs, sizeof theirs) != sizeof theirs) die("read");
    const long pidfd = ::syscall(SYS_pidfd_open, child, 0);
    const long listener = ::syscall(SYS_pidfd_getfd, pidfd, theirs, 0);
    if (listener < 0) die("pidfd_getfd");
    for (int i = 0; i < repeat; ++i)
        answer(static_cast<int>(listener));
    int status = 0;
    ::waitpid(child, &status, 0);
    return WEXITSTATUS(status);
}

} // namespace

int main(int count, char** arguments) {
    const bool valid = count == 4 && std::atoi(arguments[2]) > 0;
    const std::string_view mode = valid ? arguments[1] : "";
    if (mode == "bare") return bare(std::atoi(arguments[2]), arguments[3]);
    if (mode == "call") return call(std::atoi(arguments[2]), arguments[3]);
    if (mode == "first") return first_calls(std::atoi(arguments[2]), arguments[3]);
    std::fprintf(stderr, "usage: roundtrip bare|call|first REPEAT FILE\n");
    return 2;
}
