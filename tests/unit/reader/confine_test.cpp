// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows that a confined reader can read, and do nothing else.
#include "reader/program/confine.hpp"
#include "temporary_directory.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>

namespace kmodguard::reader {
namespace {

class Confined : public ::testing::Test {
  protected:
    /// What `attempt`, which is a system call's result, ends with in a confined process.
    template <typename Attempt>
    int error_of(Attempt attempt) {
        const pid_t child = ::fork();
        if (child == 0) {
            if (!confine()) ::_exit(255);
            errno = 0;
            ::_exit(attempt() < 0 ? errno : 0);
        }
        int status = 0;
        ::waitpid(child, &status, 0);
        return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    }

    test::TemporaryDirectory directory;
    std::string file = directory.write("file", "text");
    std::string other = directory.path() / "other";
};

TEST_F(Confined, ReadsFilesAndFolders) {
    EXPECT_EQ(error_of([&] { return ::open(file.c_str(), O_RDONLY | O_CLOEXEC); }), 0);
    EXPECT_EQ(error_of([&] { return ::open(directory.path().c_str(), O_RDONLY | O_DIRECTORY); }), 0);
    EXPECT_EQ(error_of([&] { return ::open(other.c_str(), O_RDONLY); }), ENOENT);
}

TEST_F(Confined, ChangesNoFile) {
    EXPECT_EQ(error_of([&] { return ::open(file.c_str(), O_WRONLY); }), EPERM);
    EXPECT_EQ(error_of([&] { return ::open(file.c_str(), O_RDWR); }), EPERM);
    EXPECT_EQ(error_of([&] { return ::open(file.c_str(), O_RDONLY | O_TRUNC); }), EPERM);
    EXPECT_EQ(error_of([&] { return ::open(other.c_str(), O_RDONLY | O_CREAT, 0600); }), EPERM);
    EXPECT_EQ(error_of([&] { return ::unlink(file.c_str()); }), EPERM);
    EXPECT_EQ(error_of([&] { return ::rename(file.c_str(), other.c_str()); }), EPERM);
    EXPECT_EQ(error_of([&] { return ::link(file.c_str(), other.c_str()); }), EPERM);
    EXPECT_EQ(error_of([&] { return ::symlink(file.c_str(), other.c_str()); }), EPERM);
    EXPECT_EQ(error_of([&] { return ::mkdir(other.c_str(), 0700); }), EPERM);
    EXPECT_EQ(error_of([&] { return ::chmod(file.c_str(), 0600); }), EPERM);
    EXPECT_EQ(error_of([&] { return ::truncate(file.c_str(), 0); }), EPERM);
}

TEST_F(Confined, MakesNoProcessAndReachesNone) {
    EXPECT_EQ(error_of([] { return ::fork(); }), EPERM);
    EXPECT_EQ(error_of([] { return ::execl("/bin/true", "true", nullptr); }), EPERM);
    EXPECT_EQ(error_of([] { return ::kill(::getppid(), 0); }), EPERM);
    EXPECT_EQ(error_of([] { return static_cast<int>(::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr)); }),
              EPERM);
    EXPECT_EQ(error_of([] { return ::socket(AF_UNIX, SOCK_STREAM, 0); }), EPERM);
    EXPECT_EQ(error_of([] { return ::socket(AF_INET, SOCK_STREAM, 0); }), EPERM);
    EXPECT_EQ(error_of([] { return static_cast<int>(::syscall(SYS_io_uring_setup, 1, nullptr)); }), EPERM);
}

TEST_F(Confined, HasNoFileSendSignals) {
    int ends[2] = {};
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), 0);
    const int channel = ends[0];
    EXPECT_EQ(error_of([&] { return ::fcntl(channel, F_SETOWN, ::getpid()); }), EPERM);
    EXPECT_EQ(error_of([&] { return ::fcntl(channel, F_SETSIG, SIGUSR1); }), EPERM);
    EXPECT_EQ(error_of([&] { return ::fcntl(channel, F_SETFL, O_ASYNC); }), EPERM);
    EXPECT_EQ(error_of([&] { return ::fcntl(channel, F_GETFL) & 0; }), 0);
    for (const int end : ends)
        ::close(end);
}

TEST_F(Confined, LoadsNothingIntoTheKernel) {
    EXPECT_EQ(error_of([] { return static_cast<int>(::syscall(SYS_init_module, nullptr, 0, "")); }), EPERM);
    EXPECT_EQ(error_of([] { return static_cast<int>(::syscall(SYS_finit_module, 0, "", 0)); }), EPERM);
    EXPECT_EQ(error_of([] { return static_cast<int>(::syscall(SYS_bpf, 0, nullptr, 0)); }), EPERM);
}

} // namespace
} // namespace kmodguard::reader
