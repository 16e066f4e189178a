// SPDX-License-Identifier: AGPL-3.0-only
#include "ctl/handler_writers.hpp"

#include "core/names.hpp"
#include "sys/file.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>

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
    const std::string name = entry.filename();
    pid_t number = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
    if (error != std::errc{} || end != name.data() + name.size()) return std::nullopt;
    return number;
}

/// The number that fdinfo (proc(5)) has for a descriptor after `key`.
std::optional<std::uint32_t> number_in_fdinfo(const path& task, const path& descriptor, std::string_view key,
                                              int base) {
    const auto info = sys::read_pseudo_file(task / "fdinfo" / descriptor.filename());
    const std::size_t at = info ? info->find(key) : std::string::npos;
    if (at == std::string::npos) return std::nullopt;
    std::uint32_t number = 0;
    const char* begin = info->data() + at + key.size();
    if (std::from_chars(begin, info->data() + info->size(), number, base).ec != std::errc{})
        return std::nullopt;
    return number;
}

/// By the flags of open(2).
bool is_for_writing(const path& task, const path& descriptor) {
    constexpr int octal = 8;
    const auto flags = number_in_fdinfo(task, descriptor, "flags:\t", octal);
    return flags && (*flags & O_ACCMODE) != O_RDONLY;
}

/// Device and inode of a file, without asking any server for them.
using Identity = std::array<std::uint64_t, 3>;

std::optional<Identity> identity_of(const path& file) {
    struct statx status{};
    if (::statx(AT_FDCWD, file.c_str(), AT_STATX_DONT_SYNC, STATX_INO, &status) != 0) return std::nullopt;
    return Identity{status.stx_dev_major, status.stx_dev_minor, status.stx_ino};
}

class Search {
  public:
    Search(const path& file, std::string tail) : tail_(std::move(tail)), file_(identity_of(file)) {}

    /// Threads can have descriptors of their own (unshare(2), CLONE_FILES).
    [[nodiscard]] bool finds_in(const path& process) const {
        return std::ranges::any_of(entries_of(process / "task"), [this](const path& task) {
            return std::ranges::any_of(entries_of(task / "fd"), [&](const path& descriptor) {
                return is_the_file(descriptor) && is_for_writing(task, descriptor);
            });
        });
    }

  private:
    [[nodiscard]] bool is_the_file(const path& descriptor) const {
        std::error_code error;
        const std::string target = std::filesystem::read_symlink(descriptor, error);
        if (!error && target.ends_with(tail_)) return true;
        return file_ && identity_of(descriptor) == file_;
    }

    std::string tail_;
    std::optional<Identity> file_;
};

/// The processes for which `is_one` is true.
template <typename Predicate>
std::vector<Writer> processes(const path& proc, Predicate is_one) {
    std::vector<Writer> found;
    for (const path& entry : entries_of(proc)) {
        const auto pid = number_of(entry);
        if (!pid || !is_one(entry)) continue;
        std::string command = sys::read_pseudo_file(entry / "comm").value_or("");
        if (command.ends_with('\n')) command.pop_back();
        found.push_back({*pid, core::printable(command)});
    }
    return found;
}

} // namespace

std::vector<Writer> writers_of(const path& proc, const path& file, const std::string& tail) {
    const Search search(file, tail);
    return processes(proc, [&search](const path& process) { return search.finds_in(process); });
}

std::vector<Writer> processes_with_maps(const path& proc, const std::vector<std::uint32_t>& ids) {
    const auto is_one_of_them = [&ids](const path& task, const path& descriptor) {
        const auto id = number_in_fdinfo(task, descriptor, "map_id:\t", 10);
        return id && std::ranges::find(ids, *id) != ids.end();
    };
    return processes(proc, [&](const path& process) {
        return std::ranges::any_of(entries_of(process / "task"), [&](const path& task) {
            return std::ranges::any_of(entries_of(task / "fdinfo"), [&](const path& descriptor) {
                return is_one_of_them(task, descriptor);
            });
        });
    });
}

} // namespace kmodguard::ctl
