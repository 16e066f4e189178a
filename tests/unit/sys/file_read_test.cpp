// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows that a file is read whole or not at all, within its limit, that whatever is no regular file is
// refused without being waited on, and that one state of a file is told from the next.
#include "sys/file.hpp"
#include "temporary_directory.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <filesystem>
#include <limits>
#include <string>

namespace kmodguard::sys {
namespace {

using test::TemporaryDirectory;

class FileRead : public ::testing::Test {
  protected:
    void expect_error(const Error& error, ErrorKind kind, const std::filesystem::path& path,
                      const char* why) {
        EXPECT_EQ(error.kind, kind) << error.what;
        EXPECT_NE(error.what.find(path.native()), std::string::npos) << error.what;
        EXPECT_NE(error.what.find(why), std::string::npos) << error.what;
    }
    TemporaryDirectory directory;
};

TEST_F(FileRead, GivesTheWholeContent) {
    const std::string content = std::string("a\0b\n", 4) + std::string(50000, 'x') + "\xff";
    EXPECT_EQ(read_file(directory.write("f", content), 100000), content);
    EXPECT_EQ(read_file(directory.write("empty", ""), 10), "");
}

TEST_F(FileRead, TakesAFileOfExactlyTheLimitAndNotAByteMore) {
    EXPECT_EQ(read_file(directory.write("f", "12345"), 5), "12345");
    const auto path = directory.write("g", "123456");
    const auto result = read_file(path, 5);
    ASSERT_FALSE(result);
    expect_error(result.error(), ErrorKind::invalid, path, "larger than 5 bytes");
    EXPECT_FALSE(read_file(path, 0));
    EXPECT_EQ(read_file(directory.write("empty", ""), 0), "");
}

TEST_F(FileRead, StopsReadingAHugeFileAtTheLimit) {
    const auto path = directory.write("sparse", "");
    std::filesystem::resize_file(path, std::uintmax_t{1} << 40U);
    const auto result = read_file(path, 100000);
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().kind, ErrorKind::invalid);
}

TEST_F(FileRead, SaysThatAFileIsMissing) {
    const auto result = read_file(directory / "none", 10);
    ASSERT_FALSE(result);
    expect_error(result.error(), ErrorKind::not_found, directory / "none", "cannot open");
    expect_error(result.error(), ErrorKind::not_found, directory / "none", "No such file or directory");
}

TEST_F(FileRead, SaysThatAPathLeadsThroughAFile) {
    const auto path = directory.write("f", "x") / "below";
    const auto result = read_file(path, 10);
    ASSERT_FALSE(result);
    expect_error(result.error(), ErrorKind::failed, path, "Not a directory");
}

TEST_F(FileRead, FollowsSymbolicLinksToFiles) {
    std::filesystem::create_symlink(directory.write("f", "text"), directory / "link");
    EXPECT_EQ(read_file(directory / "link", 10), "text");
    std::filesystem::create_symlink("nowhere", directory / "broken");
    EXPECT_EQ(read_file(directory / "broken", 10).error().kind, ErrorKind::not_found);
    std::filesystem::create_symlink("circle", directory / "circle");
    EXPECT_FALSE(read_file(directory / "circle", 10));
}

TEST_F(FileRead, RefusesADirectory) {
    const auto result = read_file(directory.path(), 10);
    ASSERT_FALSE(result);
    expect_error(result.error(), ErrorKind::invalid, directory.path(), "not a regular file");
}

TEST_F(FileRead, RefusesAFifoAndDoesNotWaitForAWriter) {
    ASSERT_EQ(::mkfifo((directory / "fifo").c_str(), 0600), 0);
    const auto result = read_file(directory / "fifo", 10);
    ASSERT_FALSE(result);
    expect_error(result.error(), ErrorKind::invalid, directory / "fifo", "not a regular file");
}

TEST_F(FileRead, RefusesADeviceAndASocket) {
    EXPECT_EQ(read_file("/dev/zero", 10).error().kind, ErrorKind::invalid);
    const UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string path = directory / "socket";
    ASSERT_LT(path.size(), sizeof address.sun_path);
    path.copy(static_cast<char*>(address.sun_path), path.size());
    ASSERT_EQ(::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    EXPECT_FALSE(read_file(path, 10));
}

TEST_F(FileRead, OpensForReadingOnlyAndNotForChildren) {
    const auto fd = open_regular_file(directory.write("f", "x"));
    ASSERT_TRUE(fd);
    EXPECT_EQ(::fcntl(fd->get(), F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    EXPECT_EQ(::fcntl(fd->get(), F_GETFL) & O_ACCMODE, O_RDONLY);
}

TEST_F(FileRead, ReadsAPseudoFileOfUnknownSize) {
    const auto release = read_pseudo_file("/proc/sys/kernel/ostype");
    ASSERT_TRUE(release);
    EXPECT_EQ(*release, "Linux\n");
    EXPECT_EQ(read_pseudo_file("/proc/sys/kernel/ostype", 3).error().kind, ErrorKind::invalid);
    EXPECT_EQ(read_pseudo_file(directory / "none").error().kind, ErrorKind::not_found);
}

TEST_F(FileRead, SaysThatADirectoryIsNoPseudoFile) {
    const auto result = read_pseudo_file(directory.path());
    ASSERT_FALSE(result);
    expect_error(result.error(), ErrorKind::failed, directory.path(), "Is a directory");
}

TEST_F(FileRead, IdentityStaysWhileNothingChanges) {
    const auto path = directory.write("f", "one");
    std::filesystem::create_symlink(path, directory / "link");
    EXPECT_EQ(file_identity(path).value(), file_identity(path).value());
    EXPECT_EQ(file_identity(path).value(), file_identity(directory / "link").value());
    EXPECT_EQ(file_identity(path).value().size, 3U);
}

TEST_F(FileRead, IdentityIsThatOfTheOpenFile) {
    const auto path = directory.write("f", "one");
    const auto fd = open_regular_file(path);
    struct stat status{};
    ASSERT_EQ(::fstat(fd.value().get(), &status), 0);
    EXPECT_EQ(identity_of(status), file_identity(path).value());
    EXPECT_EQ(identity_of(status).inode, status.st_ino);
    EXPECT_EQ(identity_of(status).changed_ns / 1'000'000'000, status.st_ctim.tv_sec);
}

TEST_F(FileRead, AFileOfAnImageHasNoTimeOfChange) {
    EXPECT_TRUE(has_time_of_change({.changed_ns = 1'700'000'000'000'000'001}));
    EXPECT_FALSE(has_time_of_change({.changed_ns = 1'700'000'000'000'000'000}));
    EXPECT_FALSE(has_time_of_change({.changed_ns = 0}));
}

TEST_F(FileRead, IdentityChangesWhenTheFileGrows) {
    const auto path = directory.write("f", "one");
    const FileIdentity before = file_identity(path).value();
    directory.write("f", "three");
    EXPECT_NE(file_identity(path).value(), before);
}

TEST_F(FileRead, IdentityChangesWhenAnotherFileTakesThePlace) {
    const auto path = directory.write("f", "one");
    const FileIdentity before = file_identity(path).value();
    std::filesystem::rename(directory.write("g", "two"), path);
    EXPECT_NE(file_identity(path).value(), before);
    EXPECT_NE(file_identity(path).value().inode, before.inode);
}

TEST_F(FileRead, IdentitySeesTheTimeOfChangeToTheNanosecond) {
    struct stat status{};
    status.st_ctim = {.tv_sec = 1'800'000'000, .tv_nsec = 1};
    const FileIdentity before = identity_of(status);
    EXPECT_EQ(before.changed_ns, 1'800'000'000'000'000'001);
    status.st_ctim.tv_nsec = 2; // same size, same inode: written over in place
    EXPECT_NE(identity_of(status), before);
    status.st_ctim.tv_nsec = 1;
    EXPECT_EQ(identity_of(status), before);
    status.st_dev = 7;
    EXPECT_NE(identity_of(status), before);
}

TEST_F(FileRead, IdentityIsForRegularFilesOnly) {
    EXPECT_EQ(file_identity(directory.path()).error().kind, ErrorKind::invalid);
    EXPECT_EQ(file_identity(directory / "none").error().kind, ErrorKind::not_found);
}

TEST_F(FileRead, TakesTheLargestLimitForNoLimit) {
    EXPECT_EQ(read_file(directory.write("f", "12345"), std::numeric_limits<std::size_t>::max()), "12345");
}

} // namespace
} // namespace kmodguard::sys
