// SPDX-License-Identifier: AGPL-3.0-only
#include "sys/file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

namespace kmodguard::sys {
namespace {

/// Reads until the end of the file or `limit` + 1 bytes, whichever is first.
Result<std::string> read_up_to(const UniqueFd& fd, const std::filesystem::path& path, std::size_t limit) {
    constexpr std::size_t chunk = 16384;
    constexpr std::size_t max_believed = std::size_t{16} << 20U; // of a size: a file may have holes
    std::string content;
    struct stat status{};
    if (::fstat(fd.get(), &status) == 0 && status.st_size > 0)
        content.reserve(std::min({limit, static_cast<std::size_t>(status.st_size), max_believed}) + chunk);
    while (content.size() <= limit) {
        const std::size_t rest = limit - content.size(); // one more than that shows whether it is too large
        ssize_t count = 0;
        const std::size_t size = content.size();
        content.resize_and_overwrite(size + (rest < chunk ? rest + 1 : chunk),
                                     [&](char* bytes, std::size_t all) {
                                         count = ::read(fd.get(), bytes + size, all - size);
                                         return size + static_cast<std::size_t>(std::max<ssize_t>(count, 0));
                                     });
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) return system_failure("cannot read", path.native());
        if (count == 0) return content;
    }
    return failure(ErrorKind::invalid, fmt::format("{} is larger than {} bytes", path.native(), limit));
}

/// Where `path` lies; a plain name lies in the current directory.
std::filesystem::path directory_of(const std::filesystem::path& path) {
    return path.has_parent_path() ? path.parent_path() : ".";
}

Result<void> sync_directory(const std::filesystem::path& path) {
    const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd) return system_failure("cannot open", path.native());
    if (::fsync(fd.get()) != 0) return system_failure("cannot sync", path.native());
    return {};
}

Result<void> require_regular(const struct stat& status, const std::filesystem::path& path) {
    if (S_ISREG(status.st_mode)) return {};
    return failure(ErrorKind::invalid, fmt::format("{} is not a regular file", path.native()));
}

/// Of the regular file at `path`, symbolic links followed.
Result<struct stat> regular_status(const std::filesystem::path& path) {
    struct stat status{};
    if (::stat(path.c_str(), &status) != 0) return system_failure("cannot open", path.native());
    TRY(require_regular(status, path));
    return status;
}

/// The owner before the rights, which a change of owner may take away.
Result<void> set_ownership(const UniqueFd& fd, const std::filesystem::path& path, const Ownership& wanted) {
    if (::fchown(fd.get(), wanted.user, wanted.group) != 0 || ::fchmod(fd.get(), wanted.mode) != 0)
        return system_failure("cannot set the owner of", path.native());
    return {};
}

/// Writes a file beside `path`, has `prepare(fd)` see to its rights, and replaces `path` by it.
template <typename Prepare>
Result<void> write_beside(const std::filesystem::path& path, std::string_view content, Prepare prepare) {
    std::string name = path.parent_path() / ("." + path.filename().native() + ".XXXXXX");
    const UniqueFd fd(::mkostemp(name.data(), O_CLOEXEC));
    if (!fd) return system_failure("cannot create a file beside", path.native());
    const auto replace = [&]() -> Result<void> {
        if (!write_all(fd.get(), content) || !prepare(fd) || ::fsync(fd.get()) != 0)
            return system_failure("cannot write", name);
        if (::rename(name.c_str(), path.c_str()) != 0) return system_failure("cannot replace", path.native());
        return {};
    };
    auto replaced = replace();
    if (replaced) return sync_directory(directory_of(path));
    ::unlink(name.c_str());
    return replaced;
}

} // namespace

FileIdentity identity_of(const struct stat& status) {
    return {status.st_dev, status.st_ino, static_cast<std::uint64_t>(status.st_size),
            status.st_ctim.tv_sec * 1'000'000'000 + status.st_ctim.tv_nsec};
}

bool has_time_of_change(const FileIdentity& file) {
    constexpr std::int64_t second = 1'000'000'000;
    return file.changed_ns % second != 0;
}

std::string to_string(const FileIdentity& identity) {
    return fmt::format("{} {} {} {}", identity.device, identity.inode, identity.size, identity.changed_ns);
}

Result<FileIdentity> file_identity(const std::filesystem::path& path) {
    const auto status = TRY(regular_status(path));
    return identity_of(status);
}

FileStates file_states(std::span<const std::filesystem::path> files) {
    FileStates states;
    for (const auto& file : files) {
        const auto identity = file_identity(file);
        states.emplace(file, identity ? std::optional(*identity) : std::nullopt);
    }
    return states;
}

Result<UniqueFd> open_regular_file(const std::filesystem::path& path, int flags, mode_t mode) {
    UniqueFd fd(::open(path.c_str(), flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, mode));
    struct stat status{};
    if (!fd || ::fstat(fd.get(), &status) != 0) return system_failure("cannot open", path.native());
    TRY(require_regular(status, path));
    return fd;
}

Result<std::string> read_file(const std::filesystem::path& path, std::size_t limit) {
    const auto fd = TRY(open_regular_file(path));
    return read_up_to(fd, path, limit);
}

Result<std::string> read_pseudo_file(const std::filesystem::path& path, std::size_t limit) {
    const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd) return system_failure("cannot open", path.native());
    return read_up_to(fd, path, limit);
}

std::size_t write_most(int fd, std::string_view text) {
    std::size_t written = 0;
    while (written < text.size()) {
        const ssize_t count = ::write(fd, text.data() + written, text.size() - written);
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) break;
        written += static_cast<std::size_t>(count);
    }
    return written;
}

bool write_all(int fd, std::string_view text) {
    return write_most(fd, text) == text.size();
}

UniqueFd memory_file(const char* name, unsigned flags) {
    // Where vm.memfd_noexec is 2 no other file may be made; kernels before 6.3 do not know the flag.
    constexpr unsigned noexec_seal = 8; // MFD_NOEXEC_SEAL of linux/memfd.h
    UniqueFd file(::memfd_create(name, MFD_CLOEXEC | noexec_seal | flags));
    if (!file && errno == EINVAL) file.reset(::memfd_create(name, MFD_CLOEXEC | flags));
    return file;
}

UniqueFd sealed_file(const char* name, std::string_view bytes) {
    UniqueFd file = memory_file(name, MFD_ALLOW_SEALING);
    if (!file || !write_all(file.get(), bytes)) return {};
    if (::fcntl(file.get(), F_ADD_SEALS, whole_seals) != 0) return {};
    return file;
}

UniqueFd sealed_image_file(const char* name, std::string_view bytes) {
    const UniqueFd writable = sealed_file(name, bytes);
    if (!writable) return {};
    return UniqueFd(::open(fmt::format("/proc/self/fd/{}", writable.get()).c_str(), O_RDONLY | O_CLOEXEC));
}

Result<void> write_file_atomically(const std::filesystem::path& path, std::string_view content, mode_t mode) {
    return write_beside(path, content, [mode](const UniqueFd& fd) { return ::fchmod(fd.get(), mode) == 0; });
}

Result<Ownership> ownership(const std::filesystem::path& path) {
    const auto status = TRY(regular_status(path));
    return Ownership{status.st_uid, status.st_gid, status.st_mode & 0777U};
}

Result<void> set_ownership(const std::filesystem::path& path, const Ownership& wanted) {
    const auto fd = TRY(open_regular_file(path, O_RDONLY | O_NOFOLLOW));
    return set_ownership(fd, path, wanted);
}

Result<void> replace_file_atomically(const std::filesystem::path& path, std::string_view content) {
    const auto before = TRY(ownership(path));
    return write_beside(path, content, [&](const UniqueFd& fd) {
        // What the group of before could do is not the caller's group's to do.
        return set_ownership(fd, path, before) || ::fchmod(fd.get(), before.mode & mode_t{0707}) == 0;
    });
}

Result<void> write_setting(const std::filesystem::path& path, std::string_view content) {
    const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC | O_TRUNC));
    if (!fd) return system_failure("cannot open", path.native());
    const ssize_t count = ::write(fd.get(), content.data(), content.size());
    if (count < 0) return system_failure("cannot write", path.native());
    if (static_cast<std::size_t>(count) != content.size())
        return failure(ErrorKind::failed, fmt::format("cannot write {}: only {} of {} bytes were taken",
                                                      path.native(), count, content.size()));
    return {};
}

Result<void> make_directory(const std::filesystem::path& path, mode_t mode) {
    std::error_code error;
    std::filesystem::create_directories(directory_of(path), error);
    if (error) return system_failure("cannot create", path.parent_path().native(), error.value());
    if (::mkdir(path.c_str(), mode) != 0) {
        const int code = errno;
        if (code != EEXIST || !std::filesystem::is_directory(path, error))
            return system_failure("cannot create", path.native(), code);
    } else if (::chmod(path.c_str(), mode) != 0)
        return system_failure("cannot set the mode of", path.native());
    return {};
}

} // namespace kmodguard::sys
