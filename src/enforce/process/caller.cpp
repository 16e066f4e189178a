// SPDX-License-Identifier: AGPL-3.0-only
//
// Whatever fails here with anything but what the kernel itself would say is EPERM: what cannot be looked at
// cannot be judged.
#include "enforce/process/caller.hpp"

#include "enforce/process/proc_files.hpp"
#include "sys/file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/capability.h>
#include <linux/kcmp.h>
#include <linux/nsfs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <span>
#include <utility>

namespace kmodguard::process {
namespace {

constexpr std::size_t page = 4096; // or less than a page: only how much is read at once

#ifndef PIDFD_THREAD
#define PIDFD_THREAD O_EXCL // Linux 6.9
#endif

/// Of an open file of our own, by its descriptor: what the caller's means may be another file by now.
/// `own_descriptors`: the folder /proc/self/fd, which need not be looked up then; nullptr: it is.
std::string path_of(const sys::UniqueFd& file, const sys::UniqueFd* own_descriptors) {
    const bool has_folder = own_descriptors != nullptr && *own_descriptors;
    const std::string number = std::to_string(file.get());
    std::string target =
        has_folder ? link_target(number, own_descriptors->get()) : link_target("/proc/self/fd/" + number);
    // "/memfd:x (deleted)" and "pipe:[5]" are no paths, "/tmp/x.ko (deleted)" was one.
    return target.starts_with('/') && !target.starts_with("/memfd:") ? std::move(target) : "";
}

/// fstat(2). The C library asks by an empty path where it need not, for which the kernel fetches a page.
int file_status(const sys::UniqueFd& file, struct stat& status) {
#if defined(__x86_64__) && defined(__LP64__) // there the kernel's struct is the library's
    return static_cast<int>(::syscall(SYS_fstat, file.get(), &status));
#else
    return ::fstat(file.get(), &status);
#endif
}

sys::UniqueFd descriptor_of(const sys::UniqueFd& process, int descriptor) {
    return sys::UniqueFd(static_cast<int>(::syscall(SYS_pidfd_getfd, process.get(), descriptor, 0)));
}

/// The same open file as the calling thread's. A thread may have descriptors of its own, which before
/// Linux 6.9 only /proc gives access to; and there, opened again. Anything but a regular file is not opened:
/// it may be a device that acts on it.
sys::UniqueFd fetch_descriptor(pid_t thread, int descriptor) {
    const auto pidfd = [](pid_t id, unsigned flags) {
        return sys::UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, id, flags)));
    };
    if (const auto leader = pidfd(thread, 0); leader) return descriptor_of(leader, descriptor);
    if (const auto task = pidfd(thread, PIDFD_THREAD); task) return descriptor_of(task, descriptor);
    const auto status = status_of(thread);
    const pid_t process = status ? status->process : 0;
    if (process > 0 && ::syscall(SYS_kcmp, thread, process, KCMP_FILES, 0, 0) == 0) {
        const auto leader = pidfd(process, 0);
        return leader ? descriptor_of(leader, descriptor) : sys::UniqueFd();
    }
    // Its mode says what it was opened for (proc(5)); what was not for reading is not read now.
    struct stat link{};
    const bool readable = ::lstat(proc_path(thread, fmt::format("fd/{}", descriptor)).c_str(), &link) == 0
                          && (link.st_mode & S_IRUSR) != 0;
    const sys::UniqueFd handle(
        ::open(proc_path(thread, fmt::format("fd/{}", descriptor)).c_str(), O_PATH | O_CLOEXEC));
    struct stat file{};
    if (!readable || !handle || ::fstat(handle.get(), &file) != 0) {
        errno = EBADF;
        return {};
    }
    if (!S_ISREG(file.st_mode)) {
        errno = EINVAL;
        return {};
    }
    return sys::UniqueFd(::open(fmt::format("/proc/self/fd/{}", handle.get()).c_str(),
                                O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
}

/// Reads up to `into.size()` bytes; fewer if memory ends before.
ssize_t read_memory(pid_t thread, std::uint64_t address, std::span<std::byte> into) {
    const iovec local{.iov_base = into.data(), .iov_len = into.size()};
    // NOLINTNEXTLINE(performance-no-int-to-ptr): an address in another process
    const iovec remote{.iov_base = reinterpret_cast<void*>(address), .iov_len = into.size()};
    return ::process_vm_readv(thread, &local, 1, &remote, 1, 0);
}

std::unexpected<Refusal> unreadable_memory() {
    if (errno == EFAULT) return refused(EFAULT, "the caller's memory ends before the image does");
    return refused(EPERM,
                   fmt::format("the caller's memory cannot be read: {}", std::strerror(errno))); // NOLINT
}

} // namespace

sys::Result<void> check_proc() {
    if (link_target("/proc/self") == std::to_string(::getpid())) return {};
    return sys::failure(sys::ErrorKind::failed, "/proc does not show the processes of this pid namespace",
                        "mount -t proc proc /proc in it");
}

std::optional<Capabilities> Caller::capabilities() const {
    __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = thread_};
    std::array<__user_cap_data_struct, 2> sets{};
    if (::syscall(SYS_capget, &header, sets.data()) != 0) return std::nullopt;
    const auto whole = [&sets](auto set) {
        return std::uint64_t{sets[1].*set} << 32U | sets[0].*set; // NOLINT(*-magic-numbers): halves
    };
    return Capabilities{.effective = whole(&__user_cap_data_struct::effective),
                        .permitted = whole(&__user_cap_data_struct::permitted),
                        .inheritable = whole(&__user_cap_data_struct::inheritable)};
}

bool Capabilities::has_module() const {
    return (effective & std::uint64_t{1} << CAP_SYS_MODULE) != 0;
}

bool Caller::has_capability() const {
    const auto sets = capabilities();
    return sets && sets->has_module();
}

Taken<void> Caller::may_load(std::string_view who) const {
    if (!has_capability()) return refused(EPERM, fmt::format("{} has no CAP_SYS_MODULE", who));
    if (user_namespace_of(thread_) != initial_user_namespace)
        return refused(
            EPERM, fmt::format("{}'s CAP_SYS_MODULE is of another user namespace than the machine's, as in a "
                               "rootless container; load the module outside of it",
                               who));
    const auto disabled = sys::read_pseudo_file("/proc/sys/kernel/modules_disabled");
    if (disabled && !disabled->starts_with('0')) return refused(EPERM, "kernel.modules_disabled is set");
    return {};
}

Taken<UserNamespace> Caller::user_namespace() const {
    const sys::UniqueFd file(::open(proc_path(thread_, "ns/user").c_str(), O_RDONLY | O_CLOEXEC));
    struct stat status{};
    UserNamespace found;
    if (!file || ::fstat(file.get(), &status) != 0
        || ::ioctl(file.get(), NS_GET_OWNER_UID, &found.owner)
               != 0) // NOLINT(cppcoreguidelines-pro-type-vararg)
        return refused(EPERM, fmt::format("the caller's user namespace cannot be looked at: {}",
                                          std::strerror(errno))); // NOLINT
    found.id = status.st_ino;
    return found;
}

Taken<OpenFile> Caller::open_file(int descriptor) const {
    const bool is_known = kept_.process != nullptr && *kept_.process;
    sys::UniqueFd file =
        is_known ? descriptor_of(*kept_.process, descriptor) : fetch_descriptor(thread_, descriptor);
    if (!file && errno == EBADF) return refused(EBADF, "not an open descriptor");
    if (!file && errno == EINVAL) return refused(EINVAL, "not a regular file");
    if (!file)
        return refused(EPERM, fmt::format("the caller's descriptor cannot be taken: {}",
                                          std::strerror(errno))); // NOLINT
    struct stat status{};
    if (file_status(file, status) != 0) return refused(errno, "the file cannot be inspected");
    const int access = ::fcntl(file.get(), F_GETFL);
    if (access < 0 || (access & O_ACCMODE) == O_WRONLY || (access & O_PATH) != 0)
        return refused(EBADF, "the descriptor is not open for reading");
    if (!S_ISREG(status.st_mode) || status.st_size <= 0)
        return refused(EINVAL, "not a regular file with content");
    std::string path = path_of(file, kept_.own_descriptors);
    return OpenFile{
        .file = std::move(file), .size = static_cast<std::uint64_t>(status.st_size), .path = std::move(path)};
}

Taken<modules::Buffer> Caller::copy_file(const OpenFile& file, std::uint64_t limit) {
    if (file.size > limit) return refused(EFBIG, fmt::format("larger than {} bytes", limit));

    modules::Buffer bytes(file.size);
    for (std::size_t filled = 0; filled < file.size;) {
        const ssize_t count =
            ::pread(file.file.get(), bytes.data() + filled, file.size - filled, static_cast<off_t>(filled));
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) return refused(errno, "the file cannot be read");
        if (count == 0)
            return refused(EIO, "the file became shorter while it was read"); // as the kernel says
        filled += static_cast<std::size_t>(count);
    }
    return bytes;
}

Taken<modules::Buffer> Caller::copy_memory(std::uint64_t address, std::uint64_t size,
                                           std::uint64_t limit) const {
    if (size == 0) return refused(ENOEXEC, "an image of no bytes");
    if (size > limit) return refused(EFBIG, fmt::format("larger than {} bytes", limit));
    modules::Buffer bytes(size);
    for (std::size_t filled = 0; filled < size;) {
        const ssize_t count = read_memory(thread_, address + filled, bytes.all().subspan(filled));
        if (count < 0) return unreadable_memory();
        if (count == 0) return refused(EFAULT, "the caller's memory ends before the image does");
        filled += static_cast<std::size_t>(count);
    }
    return bytes;
}

Taken<std::string> Caller::copy_text(std::uint64_t address, std::size_t limit) const {
    std::string text;
    std::array<char, page> piece{};
    while (text.size() <= limit) {
        const std::uint64_t next = address + text.size();
        // Not beyond the page that it is in: the next one may not be there, and need not.
        const auto into = std::as_writable_bytes(std::span(piece).first(page - next % page));
        const ssize_t count = read_memory(thread_, next, into);
        if (count < 0) return unreadable_memory();
        const std::string_view got(piece.data(), static_cast<std::size_t>(count));
        const std::size_t end = got.find('\0');
        text += got.substr(0, end);
        if (end != std::string_view::npos && text.size() <= limit) return text;
        if (end != std::string_view::npos) break;
        if (got.empty()) return refused(EFAULT, "a text that does not end");
    }
    return refused(E2BIG, fmt::format("a text longer than {} bytes", limit));
}

events::Requester Caller::requester() const {
    const Status status = status_of(thread_).value_or(Status());
    events::Requester requester;
    requester.pid = status.process;
    requester.uid = status.user;
    requester.command = status.name;
    requester.user_namespace = user_namespace_of(thread_);
    requester.executable = link_target(proc_path(thread_, "exe"));
    requester.cgroup = field(read_proc(thread_, "cgroup"), "0::"); // the one hierarchy of version 2
    requester.container = events::container_of_cgroup(requester.cgroup);
    return requester;
}

} // namespace kmodguard::process
