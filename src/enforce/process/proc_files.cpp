// SPDX-License-Identifier: AGPL-3.0-only
#include "enforce/process/proc_files.hpp"

#include "sys/file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/capability.h>
#include <linux/kcmp.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <climits>
#include <ranges>

namespace kmodguard::process {
namespace {

/// struct pidfd_info of linux/pidfd.h, in its first form.
struct PidfdInfo {
    std::uint64_t mask = 0; ///< what is wanted, and then what is there
    std::uint64_t cgroup_id = 0;
    std::uint32_t pid = 0, tgid = 0, ppid = 0;
    std::uint32_t real_user = 0, real_group = 0, effective_user = 0, effective_group = 0;
    std::uint32_t saved_user = 0, saved_group = 0, file_user = 0, file_group = 0;
    std::int32_t exit_code = 0;
};
static_assert(sizeof(PidfdInfo) == 64);
constexpr std::uint64_t with_credentials = 1U << 1U;
constexpr std::uint64_t with_cgroup_id = 1U << 2U;
constexpr unsigned long get_info =
    _IOWR(0xFF, 11, PidfdInfo); // NOLINT(google-runtime-int): as ioctl(2) has it

std::uint32_t user_namespace_at(int folder, const std::string& path) {
    constexpr std::string_view before = "user:["; // and a bracket after it
    const std::string target = link_target(path, folder);
    return target.starts_with(before) ? number(std::string_view(target).substr(before.size())) : 0;
}

} // namespace

std::string proc_path(pid_t thread, std::string_view entry) {
    std::array<char, 16> digits{};
    const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), thread).ptr;
    std::string path = "/proc/";
    path.append(digits.data(), end);
    path += '/';
    path += entry;
    return path;
}

std::string read_proc(pid_t thread, std::string_view entry) {
    return sys::read_pseudo_file(proc_path(thread, entry)).value_or("");
}

std::string link_target(const std::string& path, int folder) {
    std::array<char, PATH_MAX> text; // NOLINT(cppcoreguidelines-pro-type-member-init): readlinkat() fills it
    const ssize_t size = ::readlinkat(folder, path.c_str(), text.data(), text.size());
    return size <= 0 ? "" : std::string(text.data(), static_cast<std::size_t>(size));
}

std::string_view field(std::string_view text, std::string_view key) {
    for (const auto part : std::views::split(text, '\n'))
        if (std::string_view line(part); line.starts_with(key)) {
            line.remove_prefix(key.size());
            line.remove_prefix(std::min(line.find_first_not_of("\t "), line.size()));
            return line.substr(0, line.find('\t'));
        }
    return {};
}

unsigned number(std::string_view text) {
    unsigned value = 0;
    std::from_chars(text.data(), text.data() + text.size(), value);
    return value;
}

std::string name_as_in_status(std::string_view comm) {
    if (comm.ends_with('\n')) comm.remove_suffix(1);
    comm.remove_prefix(std::min(comm.find_first_not_of("\t "), comm.size()));
    std::string name;
    for (const char c : comm.substr(0, comm.find('\t'))) {
        if (c == '\n')
            name += "\\n";
        else if (c == '\\')
            name += "\\\\";
        else
            name += c;
    }
    return name;
}

std::optional<Status> status_of(pid_t thread) {
    const std::string text = read_proc(thread, "status");
    constexpr std::string_view users_key = "Uid:\t";
    const std::size_t users = text.find("\nUid:\t");
    if (users == text.npos) return std::nullopt;
    std::string_view rest = std::string_view(text).substr(users + 1 + users_key.size());
    rest = rest.substr(0, rest.find('\n'));
    const std::string_view real = rest.substr(0, rest.find('\t'));
    bool one = true;
    for (const auto part : std::views::split(rest, '\t'))
        one = one && std::string_view(part) == real;
    return Status{.process = static_cast<pid_t>(number(field(text, "Tgid:"))),
                  .user = number(real),
                  .has_one_user = one,
                  .name = std::string(field(text, "Name:"))};
}

std::uint32_t user_namespace_of(pid_t thread) {
    return user_namespace_at(AT_FDCWD, proc_path(thread, "ns/user"));
}

std::uint32_t user_namespace_in(const sys::UniqueFd& namespaces) {
    return user_namespace_at(namespaces.get(), "user");
}

std::optional<ProcessInfo> info_of(const sys::UniqueFd& process) {
    PidfdInfo info{.mask = with_credentials | with_cgroup_id};
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-vararg)
    if (::ioctl(process.get(), get_info, &info) != 0 || (info.mask & with_credentials) == 0)
        return std::nullopt;
    return ProcessInfo{.user = info.real_user,
                       .cgroup_id = (info.mask & with_cgroup_id) != 0 ? info.cgroup_id : 0};
}

OwnIds::OwnIds() {
    __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    known_ = ::syscall(SYS_capget, &header, with_.data()) == 0;
    without_ = with_;
    auto& effective = without_.at(CAP_TO_INDEX(CAP_SYS_PTRACE)).effective;
    effective &= ~CAP_TO_MASK(CAP_SYS_PTRACE);
    has_it_ = effective != with_.at(CAP_TO_INDEX(CAP_SYS_PTRACE)).effective;
}

bool OwnIds::has(pid_t thread) const {
    __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    if (!known_ || (has_it_ && ::syscall(SYS_capset, &header, without_.data()) != 0)) return false;
    const bool own = ::syscall(SYS_kcmp, ::getpid(), thread, KCMP_FS, 0, 0) >= 0;
    // It is still permitted, so nothing is in the way; were it, callers could not be looked at any more, and
    // would be refused.
    if (has_it_) ::syscall(SYS_capset, &header, with_.data());
    return own;
}

} // namespace kmodguard::process
