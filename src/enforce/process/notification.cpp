// SPDX-License-Identifier: AGPL-3.0-only
#include "enforce/process/notification.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <system_error>

namespace kmodguard::process {
namespace {

// Linux 6.6
#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64)
#define SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP (1UL << 0)
#endif

constexpr std::uint32_t x32_bit = 0x40000000; // __X32_SYSCALL_BIT, asm/unistd.h

/// libseccomp's name for the table that a call of `architecture` was made through.
std::uint32_t table_of(std::uint32_t architecture, int number) {
    const bool x32 = architecture == AUDIT_ARCH_X86_64 && (static_cast<std::uint32_t>(number) & x32_bit) != 0;
    return x32 ? SCMP_ARCH_X32 : architecture;
}

} // namespace

std::string_view to_string(Call call) {
    switch (call) {
    case Call::init_module: return "init_module";
    case Call::finit_module: return "finit_module";
    case Call::delete_module: return "delete_module";
    case Call::other: break;
    }
    return "another system call";
}

Call call_of(std::uint32_t architecture, int number) {
    if (architecture == 0) return Call::other; // to libseccomp it means the native one
    const std::unique_ptr<char, void (*)(void*)> name(
        seccomp_syscall_resolve_num_arch(table_of(architecture, number), number), std::free);
    if (name == nullptr) return Call::other;
    for (const Call call : {Call::init_module, Call::finit_module, Call::delete_module})
        if (to_string(call) == name.get()) return call;
    return Call::other;
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

sys::Result<std::variant<Notification, Nothing>> Listener::receive() const {
    seccomp_notif received{}; // the kernel refuses one that is not zero
    if (::ioctl(fd_.get(), SECCOMP_IOCTL_NOTIF_RECV, &received) != 0) {
        if (errno == EINTR) return Nothing::interrupted;
        if (errno == ENOENT) return Nothing::gone;
        return sys::system_failure("cannot receive", "a seccomp notification");
    }
    Notification notification{.id = received.id,
                              .thread = static_cast<pid_t>(received.pid),
                              .call = call_of(received.data.arch, received.data.nr)};
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
