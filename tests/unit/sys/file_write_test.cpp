// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows that replacing a file gives the new content with the exact mode, or leaves the old file whole and
// nothing beside it, whatever goes wrong on the way.
#include "sys/file.hpp"
#include "temporary_directory.hpp"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <string>
#include <vector>

namespace kmodguard::sys {
namespace {

using test::TemporaryDirectory;
using Names = std::vector<std::string>;

/// While it lives, the process creates files under this mask.
class Umask {
  public:
    explicit Umask(mode_t mask) : before_(::umask(mask)) {}
    Umask(const Umask&) = delete;
    Umask& operator=(const Umask&) = delete;
    ~Umask() { ::umask(before_); }

  private:
    mode_t before_;
};

/// While it lives, no file of the process may grow beyond `bytes`: a disk that is full.
class FullDisk {
  public:
    explicit FullDisk(rlim_t bytes) : handler_(::signal(SIGXFSZ, SIG_IGN)) {
        ::getrlimit(RLIMIT_FSIZE, &before_);
        const rlimit limit{bytes, before_.rlim_max};
        ::setrlimit(RLIMIT_FSIZE, &limit);
    }
    FullDisk(const FullDisk&) = delete;
    FullDisk& operator=(const FullDisk&) = delete;
    ~FullDisk() {
        ::setrlimit(RLIMIT_FSIZE, &before_);
        ::signal(SIGXFSZ, handler_);
    }

  private:
    rlimit before_{};
    void (*handler_)(int);
};

/// While it lives, nobody may create anything in `directory`; root sets its privileges aside for that.
class ReadOnly {
  public:
    explicit ReadOnly(const std::filesystem::path& directory) : directory_(directory) {
        ::chmod(directory_.c_str(), 0555);
        if (::geteuid() == 0) became_nobody_ = ::seteuid(65534) == 0;
    }
    ReadOnly(const ReadOnly&) = delete;
    ReadOnly& operator=(const ReadOnly&) = delete;
    ~ReadOnly() {
        if (became_nobody_ && ::seteuid(0) != 0) std::abort();
        ::chmod(directory_.c_str(), 0755);
    }

  private:
    std::filesystem::path directory_;
    bool became_nobody_ = false;
};

mode_t mode_of(const std::filesystem::path& path) {
    struct stat status{};
    EXPECT_EQ(::stat(path.c_str(), &status), 0) << path;
    return status.st_mode & 07777U;
}

std::string content_of(const std::filesystem::path& path) {
    return read_file(path, 1U << 20U).value_or("unreadable");
}

class FileWrite : public ::testing::Test {
  protected:
    TemporaryDirectory directory;
};

TEST_F(FileWrite, CreatesAFile) {
    ASSERT_TRUE(write_file_atomically(directory / "f", "text\n", 0600));
    EXPECT_EQ(content_of(directory / "f"), "text\n");
    EXPECT_EQ(directory.names(), Names{"f"});
}

TEST_F(FileWrite, ReplacesAFileAsAWhole) {
    directory.write("f", std::string(5000, 'o'));
    const FileIdentity before = file_identity(directory / "f").value();
    ASSERT_TRUE(write_file_atomically(directory / "f", "new", 0600));
    EXPECT_EQ(content_of(directory / "f"), "new");
    EXPECT_NE(file_identity(directory / "f").value().inode, before.inode); // not written over in place
    EXPECT_EQ(directory.names(), Names{"f"});
}

TEST_F(FileWrite, WritesAnyBytesAndNone) {
    const std::string content = std::string("\0\xff\n", 3) + std::string(300000, 'x');
    ASSERT_TRUE(write_file_atomically(directory / "f", content, 0600));
    EXPECT_EQ(content_of(directory / "f"), content);
    ASSERT_TRUE(write_file_atomically(directory / "f", "", 0600));
    EXPECT_EQ(content_of(directory / "f"), "");
}

TEST_F(FileWrite, GivesTheExactModeWhateverTheUmask) {
    for (const mode_t mask : {0U, 022U, 077U, 0777U}) {
        const Umask umask(mask);
        for (const mode_t mode : {0600U, 0644U, 0666U, 0400U, 0755U}) {
            ASSERT_TRUE(write_file_atomically(directory / "f", "x", mode));
            EXPECT_EQ(mode_of(directory / "f"), mode) << std::oct << mask;
        }
    }
}

TEST_F(FileWrite, NarrowsTheModeOfTheFileThatWasThere) {
    ::chmod(directory.write("f", "old").c_str(), 0666);
    ASSERT_TRUE(write_file_atomically(directory / "f", "new", 0600));
    EXPECT_EQ(mode_of(directory / "f"), 0600U);
}

TEST_F(FileWrite, LeavesAReaderOfTheOldFileItsContent) {
    directory.write("f", "old");
    const auto reader = open_regular_file(directory / "f");
    ASSERT_TRUE(write_file_atomically(directory / "f", "new", 0600));
    std::string seen(10, ' ');
    const ssize_t count = ::read(reader.value().get(), seen.data(), seen.size());
    EXPECT_EQ(seen.substr(0, static_cast<std::size_t>(count)), "old");
}

TEST_F(FileWrite, KeepsTheOldFileWhenTheDirectoryIsReadOnly) {
    directory.write("f", "old");
    ::chmod((directory / "f").c_str(), 0644);
    {
        const ReadOnly guard(directory.path());
        const auto result = write_file_atomically(directory / "f", "new", 0600);
        ASSERT_FALSE(result);
        EXPECT_EQ(result.error().kind, ErrorKind::denied);
        EXPECT_NE(result.error().what.find((directory / "f").native()), std::string::npos)
            << result.error().what;
        EXPECT_NE(result.error().what.find("Permission denied"), std::string::npos) << result.error().what;
    }
    EXPECT_EQ(content_of(directory / "f"), "old");
    EXPECT_EQ(directory.names(), Names{"f"});
}

TEST_F(FileWrite, KeepsTheOldFileWhenTheDiskIsFull) {
    directory.write("f", "old");
    {
        const FullDisk guard(1000);
        const auto result = write_file_atomically(directory / "f", std::string(5000, 'n'), 0600);
        ASSERT_FALSE(result);
        EXPECT_NE(result.error().what.find("cannot write"), std::string::npos) << result.error().what;
        EXPECT_NE(result.error().what.find("File too large"), std::string::npos) << result.error().what;
    }
    EXPECT_EQ(content_of(directory / "f"), "old");
    EXPECT_EQ(directory.names(), Names{"f"});
}

TEST_F(FileWrite, LeavesNothingBehindWhenTheFileCannotBeReplaced) {
    std::filesystem::create_directories(directory / "f" / "below");
    const auto result = write_file_atomically(directory / "f", "new", 0600);
    ASSERT_FALSE(result);
    EXPECT_NE(result.error().what.find("cannot replace " + (directory / "f").native()), std::string::npos)
        << result.error().what;
    EXPECT_TRUE(std::filesystem::is_directory(directory / "f" / "below"));
    EXPECT_EQ(directory.names(), Names{"f"});
}

TEST_F(FileWrite, SaysThatTheDirectoryIsMissing) {
    const auto result = write_file_atomically(directory / "none/f", "new", 0600);
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().kind, ErrorKind::not_found);
    EXPECT_NE(result.error().what.find((directory / "none/f").native()), std::string::npos);
    EXPECT_TRUE(directory.names().empty());
}

TEST_F(FileWrite, LeavesNoDescriptorOpen) {
    const auto count = [] { return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {}); };
    const auto before = count();
    ASSERT_TRUE(write_file_atomically(directory / "f", "x", 0600));
    (void)write_file_atomically(directory.path(), "x", 0600);
    (void)read_file(directory.path(), 10);
    (void)read_file(directory / "f", 10);
    EXPECT_EQ(count(), before);
}

TEST_F(FileWrite, WritesASettingIntoTheFileThatIsThere) {
    const auto path = directory.write("setting", "a longer old value");
    const FileIdentity before = file_identity(path).value();
    ASSERT_TRUE(write_setting(path, "new"));
    EXPECT_EQ(content_of(path), "new");
    EXPECT_EQ(file_identity(path).value().inode, before.inode);
}

TEST_F(FileWrite, CreatesNoSettingThatIsNotThere) {
    const auto result = write_setting(directory / "none", "x");
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().kind, ErrorKind::not_found);
    EXPECT_TRUE(directory.names().empty());
}

TEST_F(FileWrite, SaysWhyASettingWasNotTaken) {
    const auto result = write_setting("/dev/full", "x");
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().what, "cannot write /dev/full: No space left on device");
}

TEST_F(FileWrite, NeverCallsAHalfWrittenSettingASuccess) {
    const auto path = directory.write("setting", "");
    const FullDisk guard(2);
    errno = 0;
    const auto result = write_setting(path, "12345");
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().what.find("Success"), std::string::npos) << result.error().what;
}

TEST_F(FileWrite, MakesADirectoryWithItsParents) {
    const Umask umask(027);
    ASSERT_TRUE(make_directory(directory / "a/b/c", 0755));
    EXPECT_TRUE(std::filesystem::is_directory(directory / "a/b/c"));
    EXPECT_EQ(mode_of(directory / "a/b/c"), 0755U);
}

TEST_F(FileWrite, LeavesADirectoryThatIsThereAsItIs) {
    ASSERT_TRUE(make_directory(directory / "a", 0700));
    directory.write("a/kept", "x");
    ASSERT_TRUE(make_directory(directory / "a", 0755));
    EXPECT_EQ(mode_of(directory / "a"), 0700U);
    EXPECT_EQ(content_of(directory / "a/kept"), "x");
}

TEST_F(FileWrite, SaysThatNoDirectoryCanBeMadeBelowAFile) {
    const auto result = make_directory(directory.write("f", "x") / "below", 0755);
    ASSERT_FALSE(result);
    EXPECT_NE(result.error().what.find("cannot create " + (directory / "f").native()), std::string::npos)
        << result.error().what;
}

TEST_F(FileWrite, TakesAFileForNoDirectory) {
    const auto path = directory.write("f", "x");
    ::chmod(path.c_str(), 0600);
    EXPECT_FALSE(make_directory(path, 0755));
    EXPECT_EQ(mode_of(path), 0600U);
}

/// In a test directory as the current one, where relative paths begin.
class FileWriteHere : public FileWrite {
  protected:
    FileWriteHere() : before_(std::filesystem::current_path()) {
        std::filesystem::current_path(directory.path());
    }
    ~FileWriteHere() override { std::filesystem::current_path(before_); }

  private:
    std::filesystem::path before_;
};

TEST_F(FileWriteHere, TakesAPlainFileName) {
    EXPECT_TRUE(write_file_atomically("f", "text", 0600));
    EXPECT_EQ(content_of("f"), "text");
    EXPECT_EQ(directory.names(), Names{"f"});
}

TEST_F(FileWriteHere, MakesADirectoryOfAPlainName) {
    EXPECT_TRUE(make_directory("d", 0755));
    EXPECT_TRUE(std::filesystem::is_directory("d"));
}

} // namespace
} // namespace kmodguard::sys
