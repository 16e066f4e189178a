// SPDX-License-Identifier: AGPL-3.0-only
//
// Whole files: read with a limit, replaced atomically. Also what distinguishes one state of a file from
// another.
#pragma once

#include "sys/result.hpp"
#include "sys/unique_fd.hpp"

#include <fcntl.h>
#include <sys/types.h>

#include <compare>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>

struct stat; // NOLINT(readability-identifier-naming): the C library's

namespace kmodguard::sys {

/// What distinguishes one content of a file from another without reading it: any write, rename over it or
/// change of its metadata alters at least one of these.
struct FileIdentity {
    std::uint64_t device = 0;
    std::uint64_t inode = 0;
    std::uint64_t size = 0;      ///< bytes
    std::int64_t changed_ns = 0; ///< st_ctim, nanoseconds since the epoch

    auto operator<=>(const FileIdentity&) const = default;
};

/// "DEVICE INODE SIZE CHANGED", decimal: for comparing, and for the protocol.
[[nodiscard]] std::string to_string(const FileIdentity& identity);

[[nodiscard]] FileIdentity identity_of(const struct stat& status);

/// Whether the time is that of a change, as a kernel gives it. A file system that is made as a whole
/// (squashfs, EROFS) has whole seconds, which whoever makes it chooses, and its next version may have another
/// file of the same number, size and time: what was learned of such a file holds for no other start.
[[nodiscard]] bool has_time_of_change(const FileIdentity& file);

/// Identity of the regular file at `path` (symbolic links followed); fails for anything else.
[[nodiscard]] Result<FileIdentity> file_identity(const std::filesystem::path& path);

/// In which state files are, by path; nothing: it is not there, or no regular file.
using FileStates = std::map<std::filesystem::path, std::optional<FileIdentity>>;
[[nodiscard]] FileStates file_states(std::span<const std::filesystem::path> files);

/// Opens a regular file with `flags` of open(2), close-on-exec; one that O_CREAT makes gets `mode`. A
/// directory, device, FIFO or socket is an error, and is never waited on.
[[nodiscard]] Result<UniqueFd> open_regular_file(const std::filesystem::path& path, int flags = O_RDONLY,
                                                 mode_t mode = 0);

/// The whole content of a regular file of at most `limit` bytes; a larger one is an error, not cut short.
[[nodiscard]] Result<std::string> read_file(const std::filesystem::path& path, std::size_t limit);

/// The content of a file whose size is not known beforehand (procfs, sysfs); at most `limit` bytes.
[[nodiscard]] Result<std::string> read_pseudo_file(const std::filesystem::path& path,
                                                   std::size_t limit = 65536);

/// Writes `text`, and returns how many bytes of it were: with errno, if not all.
[[nodiscard]] std::size_t write_most(int fd, std::string_view text);
/// Writes all of `text`. False, with errno: not all of it was.
[[nodiscard]] bool write_all(int fd, std::string_view text);

/// A file in memory that is in no directory and cannot be executed, close-on-exec, with `flags` of
/// memfd_create(2) besides. Empty, with errno, if there is none. `name` is for people who look into /proc.
[[nodiscard]] UniqueFd memory_file(const char* name, unsigned flags = 0);

/// What a file in memory has that nobody can change any more, or cut short (fcntl(2), F_ADD_SEALS).
inline constexpr int whole_seals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
/// Such a file, of `bytes`. Empty, with errno, if there is none.
[[nodiscard]] UniqueFd sealed_file(const char* name, std::string_view bytes);
/// The same, open for reading only: the kernel takes no module from a file that any process has open for
/// writing (ETXTBSY).
[[nodiscard]] UniqueFd sealed_image_file(const char* name, std::string_view bytes);

/// Replaces `path` by `content` so that a reader, or a crash at any moment, sees the old or the new file
/// whole: temporary file in the same directory, fsync, rename, fsync of the directory.
[[nodiscard]] Result<void> write_file_atomically(const std::filesystem::path& path, std::string_view content,
                                                 mode_t mode);

/// Who has a file, and what who may do with it.
struct Ownership {
    uid_t user = 0;
    gid_t group = 0;
    mode_t mode = 0; ///< permissions alone

    bool operator==(const Ownership&) const = default;
};

/// Of the regular file at `path`, symbolic links followed.
[[nodiscard]] Result<Ownership> ownership(const std::filesystem::path& path);

/// Gives the regular file at `path`, no symbolic link, another ownership.
[[nodiscard]] Result<void> set_ownership(const std::filesystem::path& path, const Ownership& ownership);

/// The same as write_file_atomically() for a file that exists, whose ownership it keeps. Where the caller may
/// not give files away it becomes the caller's, with no right for its group (see ownership()).
[[nodiscard]] Result<void> replace_file_atomically(const std::filesystem::path& path,
                                                   std::string_view content);

/// One write(2) of `content` to an existing file, as procfs settings need it.
[[nodiscard]] Result<void> write_setting(const std::filesystem::path& path, std::string_view content);

/// Creates `path` and its missing parents. The last component gets `mode`, whatever the umask; one that is
/// there already stays as it is.
[[nodiscard]] Result<void> make_directory(const std::filesystem::path& path, mode_t mode);

} // namespace kmodguard::sys
