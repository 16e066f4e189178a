// SPDX-License-Identifier: AGPL-3.0-only
#include "ctl/open_files.hpp"

#include "core/names.hpp"
#include "sys/file.hpp"
#include "sys/number.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <string_view>

namespace kmodguard::ctl {
namespace {

using std::filesystem::path;

/// The entries of a directory; none if it is gone, as threads and descriptors go at any moment.
std::vector<path> entries_of(const path& directory) {
    std::vector<path> entries;
    std::error_code error;
    for (std::filesystem::directory_iterator entry(directory, error);
         !error && entry != std::filesystem::directory_iterator(); entry.increment(error))
        entries.push_back(entry->path());
    return entries;
}

std::optional<pid_t> number_of(const path& entry) {
    return sys::number_in<pid_t>(entry.filename().native());
}

/// The number that fdinfo (proc(5)) has for a descriptor after `key`.
std::optional<std::uint32_t> number_in(const path& fdinfo, std::string_view key, int base) {
    const auto info = sys::read_pseudo_file(fdinfo);
    const std::size_t at = info ? info->find(key) : std::string::npos;
    if (at == std::string::npos) return std::nullopt;
    std::uint32_t number = 0;
    const char* begin = info->data() + at + key.size();
    if (std::from_chars(begin, info->data() + info->size(), number, base).ec != std::errc{})
        return std::nullopt;
    return number;
}

/// Device and inode of a file, without asking any server for them.
using Identity = std::array<std::uint64_t, 3>;

std::optional<Identity> identity_of(const path& file) {
    struct statx status{};
    if (::statx(AT_FDCWD, file.c_str(), AT_STATX_DONT_SYNC, STATX_INO, &status) != 0) return std::nullopt;
    return Identity{status.stx_dev_major, status.stx_dev_minor, status.stx_ino};
}

/// The processes that have a descriptor for which `is_one(descriptor, its fdinfo)` is true. Threads can have
/// descriptors of their own (unshare(2), CLONE_FILES).
template <typename Predicate>
std::vector<Process> processes_with(const path& proc, Predicate is_one) {
    const auto has_one = [&is_one](const path& task) {
        return std::ranges::any_of(entries_of(task / "fdinfo"), [&](const path& fdinfo) {
            return is_one(task / "fd" / fdinfo.filename(), fdinfo);
        });
    };
    std::vector<Process> found;
    for (const path& entry : entries_of(proc)) {
        const auto pid = number_of(entry);
        if (!pid || !std::ranges::any_of(entries_of(entry / "task"), has_one)) continue;
        std::string command = sys::read_pseudo_file(entry / "comm").value_or("");
        if (command.ends_with('\n')) command.pop_back();
        found.push_back({*pid, core::printable(command)});
    }
    return found;
}

} // namespace

std::vector<Process> writers_of(const path& proc, const path& file, const std::string& tail) {
    const auto identity = identity_of(file);
    const auto is_the_file = [&](const path& descriptor) {
        std::error_code error;
        const std::string target = std::filesystem::read_symlink(descriptor, error);
        if (!error && target.ends_with(tail)) return true;
        return identity && identity_of(descriptor) == identity;
    };
    return processes_with(proc, [&](const path& descriptor, const path& fdinfo) {
        if (!is_the_file(descriptor)) return false;
        constexpr int octal = 8;
        const auto flags = number_in(fdinfo, "flags:\t", octal); // of open(2)
        return flags && (*flags & O_ACCMODE) != O_RDONLY;
    });
}

std::vector<Process> processes_with_maps(const path& proc, const std::vector<std::uint32_t>& ids) {
    return processes_with(proc, [&ids](const path& /*descriptor*/, const path& fdinfo) {
        const auto id = number_in(fdinfo, "map_id:\t", 10);
        return id && std::ranges::find(ids, *id) != ids.end();
    });
}

} // namespace kmodguard::ctl
