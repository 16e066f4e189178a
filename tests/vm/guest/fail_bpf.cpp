// SPDX-License-Identifier: AGPL-3.0-only
//
// Preloaded into the daemon or kmodctl: while /run/fail-bpf is there, every change of a BPF map fails for
// want of memory, as it may at any time; while /run/fail-bpf-load is, so does every program that is to be
// loaded. There is no other way to that than by chance.
#include <dlfcn.h>
#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdarg>

// The C library's function, in front of which this one comes; libbpf calls the kernel by it.
extern "C" long syscall(long number, ...) noexcept {
    using Call = long (*)(long, ...);
    static const auto real = reinterpret_cast<Call>(::dlsym(RTLD_NEXT, "syscall"));
    std::va_list list;
    va_start(list, number);
    long arguments[6];
    for (long& argument : arguments)
        argument = va_arg(list, long);
    va_end(list);
    const bool changes = arguments[0] == BPF_MAP_UPDATE_ELEM || arguments[0] == BPF_MAP_UPDATE_BATCH;
    if (number == __NR_bpf
        && ((changes && ::access("/run/fail-bpf", F_OK) == 0)
            || (arguments[0] == BPF_PROG_LOAD && ::access("/run/fail-bpf-load", F_OK) == 0))) {
        errno = ENOMEM;
        return -1;
    }
    return real(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], arguments[5]);
}
