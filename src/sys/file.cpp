// SPDX-License-Identifier: AGPL-3.0-only
#include "sys/file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <cstdlib>

namespace kmodguard::sys {
namespace {

/// Reads until the end of the file or `limit` + 1 bytes, whichever is first.
Result<std::string> read_up_to(const UniqueFd& fd, const std::filesystem::path& path, std::size_t limit) {
    std::string content;
    std::array<char, 16384> buffer; // NOLINT(cppcoreguidelines-pro-type-member-init): read() fills it
    while (content.size() <= limit) {
        const std::size_t rest = limit - content.size(); // one more than that shows whether it is too large
        const ssize_t count =
            ::read(fd.get(), buffer.data(), rest < buffer.size() ? rest + 1 : buffer.size());
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) return system_failure("cannot read", path.native());
        if (count == 0) return content;
        content.append(buffer.data(), static_cast<std::size_t>(count));
    }
    return failure(ErrorKind::invalid, fmt::format("{} is larger than {} bytes", path.native(), limit));
}

Result<void> write_all(const UniqueFd& fd, const std::filesystem::path& path, std::string_view content) {
    while (!content.empty()) {
        const ssize_t count = ::write(fd.get(), content.data(), content.size());
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) return system_failure("cannot write", path.native());
        content.remove_prefix(static_cast<std::size_t>(count));
    }
    return {};
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

/// A temporary file that is gone again unless it was renamed.
class TemporaryFile {
  public:
    explicit TemporaryFile(const std::filesystem::path& target)
        : name_(target.parent_path() / ("." + target.filename().native() + ".XXXXXX")),
          fd_(::mkostemp(name_.data(), O_CLOEXEC)) {}
    TemporaryFile(const TemporaryFile&) = delete;
    TemporaryFile& operator=(const TemporaryFile&) = delete;
    ~TemporaryFile() {
        if (fd_ && !name_.empty()) ::unlink(name_.c_str());
    }

    [[nodiscard]] const UniqueFd& fd() const { return fd_; }
    [[nodiscard]] const std::string& name() const { return name_; }
    Result<void> rename_to(const std::filesystem::path& target) {
        if (::rename(name_.c_str(), target.c_str()) != 0)
            return system_failure("cannot replace", target.native());
        name_.clear();
        return {};
    }

  private:
    std::string name_;
    UniqueFd fd_;
};

} // namespace

FileIdentity identity_of(const struct stat& status) {
    return {status.st_dev, status.st_ino, static_cast<std::uint64_t>(status.st_size),
            status.st_ctim.tv_sec * 1'000'000'000 + status.st_ctim.tv_nsec};
}

std::string to_string(const FileIdentity& identity) {
    return fmt::format("{} {} {} {}", identity.device, identity.inode, identity.size, identity.changed_ns);
}

Result<FileIdentity> file_identity(const std::filesystem::path& path) {
    struct stat status{};
    if (::stat(path.c_str(), &status) != 0) return system_failure("cannot open", path.native());
    if (!S_ISREG(status.st_mode))
        return failure(ErrorKind::invalid, fmt::format("{} is not a regular file", path.native()));
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

Result<UniqueFd> open_regular_file(const std::filesystem::path& path) {
    UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
    if (!fd) return system_failure("cannot open", path.native());
    struct stat status{};
    if (::fstat(fd.get(), &status) != 0) return system_failure("cannot open", path.native());
    if (!S_ISREG(status.st_mode))
        return failure(ErrorKind::invalid, fmt::format("{} is not a regular file", path.native()));
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

UniqueFd memory_file(const char* name, unsigned flags) {
    // Where vm.memfd_noexec is 2 no other file may be made; kernels before 6.3 do not know the flag.
    constexpr unsigned noexec_seal = 8; // MFD_NOEXEC_SEAL of linux/memfd.h
    UniqueFd file(::memfd_create(name, MFD_CLOEXEC | noexec_seal | flags));
    if (!file && errno == EINVAL) file.reset(::memfd_create(name, MFD_CLOEXEC | flags));
    return file;
}

namespace {

/// The owner before the rights, which a change of owner may take away.
Result<void> set_ownership(const UniqueFd& fd, const std::filesystem::path& path, const Ownership& wanted) {
    if (::fchown(fd.get(), wanted.user, wanted.group) != 0 || ::fchmod(fd.get(), wanted.mode) != 0)
        return system_failure("cannot set the owner of", path.native());
    return {};
}

/// Writes a file beside `path`, has `prepare(fd)` see to its rights, and replaces `path` by it.
template <typename Prepare>
Result<void> write_beside(const std::filesystem::path& path, std::string_view content, Prepare prepare) {
    TemporaryFile temporary(path);
    if (!temporary.fd()) return system_failure("cannot create a file beside", path.native());
    TRY(write_all(temporary.fd(), temporary.name(), content));
    if (!prepare(temporary.fd()) || ::fsync(temporary.fd().get()) != 0)
        return system_failure("cannot write", temporary.name());
    TRY(temporary.rename_to(path));
    return sync_directory(directory_of(path));
}

} // namespace

Result<void> write_file_atomically(const std::filesystem::path& path, std::string_view content, mode_t mode) {
    return write_beside(path, content, [mode](const UniqueFd& fd) { return ::fchmod(fd.get(), mode) == 0; });
}

Result<Ownership> ownership(const std::filesystem::path& path) {
    struct stat status{};
    if (::stat(path.c_str(), &status) != 0) return system_failure("cannot open", path.native());
    if (!S_ISREG(status.st_mode))
        return failure(ErrorKind::invalid, fmt::format("{} is not a regular file", path.native()));
    return Ownership{status.st_uid, status.st_gid, status.st_mode & 0777U};
}

Result<void> set_ownership(const std::filesystem::path& path, const Ownership& wanted) {
    const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW));
    if (!fd) return system_failure("cannot open", path.native());
    struct stat status{};
    if (::fstat(fd.get(), &status) != 0) return system_failure("cannot open", path.native());
    if (!S_ISREG(status.st_mode))
        return failure(ErrorKind::invalid, fmt::format("{} is not a regular file", path.native()));
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
