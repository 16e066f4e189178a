// SPDX-License-Identifier: AGPL-3.0-only
//
// libseccomp writes the program; the program is installed here, because the library (2.5) does not know the
// flag that keeps a call from being interrupted once its notification has been received. Without it a signal
// makes the caller repeat a call whose module is already being loaded.
#include "enforce/process/filter.hpp"

#include "sys/file.hpp"
#include "sys/unique_fd.hpp"

#include <fmt/format.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <memory>
#include <type_traits>

namespace kmodguard::process {
namespace {

#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5) // Linux 5.19
#endif

using Context = std::unique_ptr<std::remove_pointer_t<scmp_filter_ctx>, void (*)(scmp_filter_ctx)>;

/// The system call tables of one kernel, by the native one. A kernel built without a table never runs a
/// caller of it, so one too many does no harm.
std::vector<std::uint32_t> further_tables() {
    switch (seccomp_arch_native()) {
    case SCMP_ARCH_X86_64: return {SCMP_ARCH_X86, SCMP_ARCH_X32};
    case SCMP_ARCH_AARCH64: return {SCMP_ARCH_ARM};
    case SCMP_ARCH_MIPS64: return {SCMP_ARCH_MIPS, SCMP_ARCH_MIPS64N32};
    case SCMP_ARCH_MIPSEL64: return {SCMP_ARCH_MIPSEL, SCMP_ARCH_MIPSEL64N32};
    case SCMP_ARCH_PPC64: return {SCMP_ARCH_PPC};
    case SCMP_ARCH_S390X: return {SCMP_ARCH_S390};
    case SCMP_ARCH_PARISC64: return {SCMP_ARCH_PARISC};
    default: return {};
    }
}

sys::Result<FilterProgram> exported(scmp_filter_ctx context) {
    const sys::UniqueFd file = sys::memory_file("filter");
    if (!file) return sys::system_failure("cannot create", "a file in memory");
    if (const int code = seccomp_export_bpf(context, file.get()); code < 0)
        return sys::system_failure("cannot build", "a seccomp filter", -code);
    const off_t size = ::lseek(file.get(), 0, SEEK_END);
    if (size <= 0 || static_cast<std::size_t>(size) % sizeof(sock_filter) != 0)
        return sys::failure(sys::ErrorKind::failed, "libseccomp wrote no seccomp filter");
    FilterProgram program(static_cast<std::size_t>(size) / sizeof(sock_filter));
    if (::pread(file.get(), program.data(), static_cast<std::size_t>(size), 0) != size)
        return sys::system_failure("cannot read", "a seccomp filter");
    return program;
}

int set_filter(const sock_fprog& program, unsigned long flags) {
    return static_cast<int>(::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program));
}

/// Where it is not allowed without, with no_new_privs; where the kernel is too old for a flag, without that.
/// Such a kernel speaks of the flag first, and of the privilege only when there is none that it does not
/// know.
int set_filter_somehow(const sock_fprog& program) {
    // With a filter that allows nearly everything, the mitigation that seccomp brought before 5.16 would only
    // slow the whole tree down.
    constexpr unsigned long wanted = SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_SPEC_ALLOW;
    unsigned long flags = wanted | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    int fd = set_filter(program, flags);
    if (fd < 0 && errno == EINVAL) {
        flags = wanted;
        fd = set_filter(program, flags);
    }
    if (fd < 0 && errno == EACCES && ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0)
        fd = set_filter(program, flags);
    return fd;
}

} // namespace

sys::Result<FilterProgram> build_filter() {
    const Context context(seccomp_init(SCMP_ACT_ALLOW), seccomp_release);
    if (context == nullptr) return sys::failure(sys::ErrorKind::failed, "libseccomp cannot start a filter");
    int code = seccomp_attr_set(context.get(), SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    for (const std::uint32_t table : further_tables())
        if (code == 0) code = seccomp_arch_add(context.get(), table);
    for (const int call : {SCMP_SYS(init_module), SCMP_SYS(finit_module), SCMP_SYS(delete_module)})
        if (code == 0) code = seccomp_rule_add(context.get(), SCMP_ACT_NOTIFY, call, 0);
    if (code != 0) return sys::system_failure("cannot build", "a seccomp filter", -code);
    return exported(context.get());
}

sys::Result<sys::UniqueFd> install_filter(const FilterProgram& program) {
    const sock_fprog pointer{.len = static_cast<unsigned short>(program.size()),
                             .filter = const_cast<sock_filter*>(program.data())}; // NOLINT: it is read only
    sys::UniqueFd listener(set_filter_somehow(pointer));
    if (listener) return listener;
    const int code = errno;
    sys::Error error = sys::system_error("cannot install", "a seccomp filter", code);
    if (code == EBUSY)
        error.hint =
            "this process is supervised already: one supervisor for a process is what the kernel allows";
    else if (code == EINVAL || code == ENOSYS)
        error.hint = "the kernel needs seccomp with user notification: Linux 5.0, CONFIG_SECCOMP_FILTER";
    return std::unexpected(std::move(error));
}

} // namespace kmodguard::process
