// SPDX-License-Identifier: AGPL-3.0-only
#include "reader/program/confine.hpp"

#include "sys/file.hpp"
#include "sys/process.hpp"

#include <fcntl.h>
#include <seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include <cerrno>
#include <csignal>
#include <memory>
#include <type_traits>

namespace kmodguard::reader {
namespace {

#ifndef __SANITIZE_ADDRESS__
/// An image and what is compressed in it may have 512 MiB each.
constexpr rlim_t max_memory = rlim_t{3} << 30U;
#endif

constexpr int allowed[] = {
    // files
    SCMP_SYS(read),
    SCMP_SYS(pread64),
    SCMP_SYS(readv),
    SCMP_SYS(lseek),
    SCMP_SYS(_llseek),
    SCMP_SYS(close),
    SCMP_SYS(stat),
    SCMP_SYS(lstat),
    SCMP_SYS(fstat),
    SCMP_SYS(stat64),
    SCMP_SYS(lstat64),
    SCMP_SYS(fstat64),
    SCMP_SYS(newfstatat),
    SCMP_SYS(fstatat64),
    SCMP_SYS(statx),
    SCMP_SYS(statfs),
    SCMP_SYS(fstatfs),
    SCMP_SYS(getdents64),
    SCMP_SYS(readlink),
    SCMP_SYS(readlinkat),
    SCMP_SYS(access),
    SCMP_SYS(faccessat),
    SCMP_SYS(faccessat2),
    SCMP_SYS(getcwd),
    SCMP_SYS(fadvise64),
    // memory, which is also where answers are written
    SCMP_SYS(brk),
    SCMP_SYS(mmap),
    SCMP_SYS(mmap2),
    SCMP_SYS(munmap),
    SCMP_SYS(mremap),
    SCMP_SYS(mprotect),
    SCMP_SYS(madvise),
    SCMP_SYS(memfd_create),
    SCMP_SYS(fallocate),
    SCMP_SYS(write),
    SCMP_SYS(writev),
    // the channel
    SCMP_SYS(sendmsg),
    SCMP_SYS(recvmsg),
    // the process itself
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
    SCMP_SYS(futex),
    SCMP_SYS(getrandom),
    SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(sigaltstack),
    SCMP_SYS(getpid),
    SCMP_SYS(gettid),
    SCMP_SYS(getuid),
    SCMP_SYS(geteuid),
    SCMP_SYS(getgid),
    SCMP_SYS(getegid),
    SCMP_SYS(uname),
    SCMP_SYS(sysinfo),
    SCMP_SYS(clock_gettime),
    SCMP_SYS(gettimeofday),
    SCMP_SYS(time),
    SCMP_SYS(sched_getaffinity),
    SCMP_SYS(sched_yield),
    SCMP_SYS(restart_syscall),
#ifdef __SANITIZE_ADDRESS__ // the sanitizers try memory by it
    SCMP_SYS(pipe),
    SCMP_SYS(pipe2),
#endif
};

/// Of fcntl(2). By others a file can be made to send a signal to any process of the same user (F_SETOWN and
/// F_SETSIG, for which no capability is asked), to be locked, or to be watched.
constexpr int allowed_commands[] = {F_GETFD, F_SETFD, F_GETFL, F_DUPFD_CLOEXEC, F_ADD_SEALS, F_GET_SEALS};

using Filter = std::unique_ptr<std::remove_pointer_t<scmp_filter_ctx>, void (*)(scmp_filter_ctx)>;

/// Opening is for reading alone. `flags` is the number of that argument.
int allow_reading(scmp_filter_ctx filter, int call, unsigned flags) {
    const scmp_arg_cmp reads{.arg = flags,
                             .op = SCMP_CMP_MASKED_EQ,
                             .datum_a = O_ACCMODE | O_CREAT | O_TRUNC,
                             .datum_b = O_RDONLY};
    return seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, call, 1, &reads);
}

int allow_command(scmp_filter_ctx filter, int call, int command) {
    const scmp_arg_cmp is_it{
        .arg = 1, .op = SCMP_CMP_EQ, .datum_a = static_cast<scmp_datum_t>(command), .datum_b = 0};
    return seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, call, 1, &is_it);
}

} // namespace

sys::Result<void> confine() {
    TRY(sys::drop_all_capabilities());
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    // Of the two it is this one that memory is taken from first. Where that cannot be said, it goes on.
    static_cast<void>(sys::write_setting("/proc/self/oom_score_adj", "500"));
#ifndef __SANITIZE_ADDRESS__
    const rlimit memory{.rlim_cur = max_memory, .rlim_max = max_memory};
    if (::setrlimit(RLIMIT_AS, &memory) != 0) return sys::system_failure("cannot limit", "the memory");
#endif
    const Filter filter(seccomp_init(SCMP_ACT_ERRNO(EPERM)), seccomp_release);
    int code = filter ? allow_reading(filter.get(), SCMP_SYS(openat), 2) : -ENOMEM;
    if (code == 0) code = allow_reading(filter.get(), SCMP_SYS(open), 1);
    for (const int call : {SCMP_SYS(fcntl), SCMP_SYS(fcntl64)})
        for (const int command : allowed_commands)
            if (code == 0) code = allow_command(filter.get(), call, command);
    for (const int call : allowed)
        if (code == 0) code = seccomp_rule_add(filter.get(), SCMP_ACT_ALLOW, call, 0);
    if (code == 0) code = seccomp_load(filter.get());
    if (code != 0) return sys::system_failure("cannot confine", "the reader", -code);
    return {};
}

} // namespace kmodguard::reader
