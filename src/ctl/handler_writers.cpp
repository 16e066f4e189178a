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

/// By the flags of open(2), in octal, in fdinfo (proc(5)).
bool is_for_writing(const path& task, const path& descriptor) {
    constexpr std::string_view key = "flags:\t";
    const auto info = sys::read_pseudo_file(task / "fdinfo" / descriptor.filename());
    const std::size_t at = info ? info->find(key) : std::string::npos;
    if (at == std::string::npos) return false;
    int flags = 0;
    constexpr int octal = 8;
    std::from_chars(info->data() + at + key.size(), info->data() + info->size(), flags, octal);
    return (flags & O_ACCMODE) != O_RDONLY;
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

} // namespace

std::vector<Writer> writers_of(const path& proc, const path& file, const std::string& tail) {
    const Search search(file, tail);
    std::vector<Writer> writers;
    for (const path& entry : entries_of(proc)) {
        const auto pid = number_of(entry);
        if (!pid || !search.finds_in(entry)) continue;
        std::string command = sys::read_pseudo_file(entry / "comm").value_or("");
        if (command.ends_with('\n')) command.pop_back();
        writers.push_back({*pid, core::printable(command)});
    }
    return writers;
}

} // namespace kmodguard::ctl
