// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows that a process that has a file open for writing is found, by this very process.
#include "ctl/open_files.hpp"
#include "sys/unique_fd.hpp"
#include "temporary_directory.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

namespace kmodguard::ctl {
namespace {

class OpenFilesTest : public ::testing::Test {
  protected:
    OpenFilesTest() { std::ofstream(file) << "x"; }
    [[nodiscard]] bool found(const std::string& tail = "/no/such/tail") const {
        return std::ranges::count(writers_of("/proc", file, tail), ::getpid(), &Process::pid) == 1;
    }
    [[nodiscard]] sys::UniqueFd open(int flags) const {
        return sys::UniqueFd(::open(file.c_str(), flags | O_CLOEXEC));
    }

    test::TemporaryDirectory directory;
    std::filesystem::path file = directory / "setting";
};

TEST_F(OpenFilesTest, WhoOnlyReadsIsNone) {
    EXPECT_FALSE(found());
    const sys::UniqueFd fd = open(O_RDONLY);
    EXPECT_FALSE(found());
}

TEST_F(OpenFilesTest, WhoCanWriteIsOne) {
    for (const int flags : {O_WRONLY, O_RDWR, O_WRONLY | O_APPEND}) {
        const sys::UniqueFd fd = open(flags);
        EXPECT_TRUE(found()) << flags;
    }
    EXPECT_FALSE(found());
}

TEST_F(OpenFilesTest, AnotherMountIsKnownByTheEndOfThePath) {
    std::filesystem::create_directories(directory / "sys/kernel");
    const sys::UniqueFd fd(
        ::open((directory / "sys/kernel/modprobe").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    EXPECT_FALSE(found());
    EXPECT_TRUE(found("/sys/kernel/modprobe"));
}

TEST_F(OpenFilesTest, TheNameOfTheProcessIsTold) {
    const sys::UniqueFd fd = open(O_WRONLY);
    const auto writers = writers_of("/proc", file, "/no/such/tail");
    const auto self = std::ranges::find(writers, ::getpid(), &Process::pid);
    ASSERT_NE(self, writers.end());
    EXPECT_TRUE(std::string("test_ctl").starts_with(self->command.substr(0, 8))) << self->command;
}

TEST_F(OpenFilesTest, WhoHasAMapOpenIsKnownByItsId) {
    const auto task = directory / "7/task/8";
    std::filesystem::create_directories(task / "fdinfo");
    std::ofstream(directory / "7/comm") << "kmodguard\n";
    std::ofstream(task / "fdinfo/3") << "pos:\t0\nflags:\t02000002\nmap_type:\t1\nmap_id:\t12\n";
    std::ofstream(task / "fdinfo/4") << "pos:\t0\nflags:\t02000002\nprog_id:\t13\n";
    const auto holders = processes_with_maps(directory.path(), {11, 12});
    ASSERT_EQ(holders.size(), 1U);
    EXPECT_EQ(holders.front().pid, 7);
    EXPECT_EQ(holders.front().command, "kmodguard");
    EXPECT_TRUE(processes_with_maps(directory.path(), {1, 2, 13}).empty());
}

TEST_F(OpenFilesTest, NoProcMeansNobody) {
    EXPECT_TRUE(writers_of(directory / "none", file, "x").empty());
}

} // namespace
} // namespace kmodguard::ctl
