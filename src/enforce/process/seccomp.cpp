// SPDX-License-Identifier: AGPL-3.0-only
//
// libseccomp writes the program; the program is installed here, because the library (2.5) does not know the
// flag that keeps a call from being interrupted once its notification has been received. Without it a signal
// makes the caller repeat a call whose module is already being loaded.
#include "enforce/process/seccomp.hpp"

#include "sys/file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>
#include <type_traits>

namespace kmodguard::process {
namespace {

#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5) // Linux 5.19
#endif
#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS // Linux 6.6
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64)
#define SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP (1UL << 0)
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

constexpr std::uint32_t x32_bit = 0x40000000; // __X32_SYSCALL_BIT, asm/unistd.h

/// libseccomp's name for the table that a call of `architecture` was made through.
std::uint32_t table_of(std::uint32_t architecture, int number) {
    const bool x32 = architecture == AUDIT_ARCH_X86_64 && (static_cast<std::uint32_t>(number) & x32_bit) != 0;
    return x32 ? SCMP_ARCH_X32 : architecture;
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
        error.hint =
            "the kernel needs seccomp's user notification and pidfd_getfd: Linux 5.6, CONFIG_SECCOMP_FILTER";
    return std::unexpected(std::move(error));
}

ModuleCall call_of(std::uint32_t architecture, int number) {
    if (architecture == 0) return ModuleCall::other; // to libseccomp it means the native one
    const std::unique_ptr<char, void (*)(void*)> name(
        seccomp_syscall_resolve_num_arch(table_of(architecture, number), number), std::free);
    if (name == nullptr) return ModuleCall::other;
    for (const ModuleCall call :
         {ModuleCall::init_module, ModuleCall::finit_module, ModuleCall::delete_module})
        if (to_string(call) == name.get()) return call;
    return ModuleCall::other;
}

CallNumbers::CallNumbers() {
    std::vector<std::uint32_t> tables = further_tables();
    tables.push_back(seccomp_arch_native());
    for (const std::uint32_t table : tables)
        for (const ModuleCall call :
             {ModuleCall::init_module, ModuleCall::finit_module, ModuleCall::delete_module}) {
            const int number = seccomp_syscall_resolve_name_arch(table, std::string(to_string(call)).c_str());
            const std::uint32_t architecture = table == SCMP_ARCH_X32 ? AUDIT_ARCH_X86_64 : table;
            if (call_of(architecture, number) == call) known_.push_back({architecture, number, call});
        }
}

ModuleCall CallNumbers::find(std::uint32_t architecture, int number) const {
    for (const Known& known : known_)
        if (known.architecture == architecture && known.number == number) return known.call;
    return call_of(architecture, number);
}

sys::Result<Listener> Listener::adopt(sys::UniqueFd fd) {
    std::error_code error;
    const auto kind = std::filesystem::read_symlink(fmt::format("/proc/self/fd/{}", fd.get()), error);
    if (kind != "anon_inode:seccomp notify")
        return sys::failure(sys::ErrorKind::invalid, "a descriptor that is not a seccomp listener");
    if (::fcntl(fd.get(), F_SETFD, FD_CLOEXEC) != 0) return sys::system_failure("cannot keep", "a listener");
    seccomp_notif_sizes sizes{};
    if (::syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &sizes) != 0)
        return sys::system_failure("cannot use", "seccomp notifications");
    if (sizes.seccomp_notif > sizeof(seccomp_notif) || sizes.seccomp_notif_resp > sizeof(seccomp_notif_resp))
        return sys::failure(sys::ErrorKind::failed,
                            "the kernel's seccomp notifications are larger than known",
                            "build kmodguard with this kernel's headers");
    ::ioctl(fd.get(), SECCOMP_IOCTL_NOTIF_SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP); // only faster
    return Listener(std::move(fd));
}

sys::Result<std::optional<Notification>> Listener::receive() const {
    seccomp_notif received{}; // the kernel refuses one that is not zero
    if (::ioctl(fd_.get(), SECCOMP_IOCTL_NOTIF_RECV, &received) != 0) {
        if (errno == EINTR || errno == ENOENT) return std::nullopt;
        return sys::system_failure("cannot receive", "a seccomp notification");
    }
    Notification notification{.id = received.id,
                              .thread = static_cast<pid_t>(received.pid),
                              .call = numbers_.find(received.data.arch, received.data.nr)};
    // A 32-bit entry takes the lower halves of the registers, whatever the upper ones hold.
    const bool narrow = (received.data.arch & __AUDIT_ARCH_64BIT) == 0;
    for (std::size_t i = 0; i < notification.arguments.size(); ++i) {
        const std::uint64_t argument = received.data.args[i];
        notification.arguments.at(i) = narrow ? static_cast<std::uint32_t>(argument) : argument;
    }
    return notification;
}

bool Listener::is_waiting(std::uint64_t id) const {
    return ::ioctl(fd_.get(), SECCOMP_IOCTL_NOTIF_ID_VALID, &id) == 0;
}

bool Listener::answer(std::uint64_t id, int result) const {
    seccomp_notif_resp response{.id = id, .val = 0, .error = result, .flags = 0};
    while (::ioctl(fd_.get(), SECCOMP_IOCTL_NOTIF_SEND, &response) != 0)
        if (errno != EINTR) return false;
    return true;
}

} // namespace kmodguard::process
