// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows how QEMU is started so that its debugger's stub is ours alone, with a shell script in its place.
#include "enforce/guest/emulator.hpp"
#include "sys/unix_socket.hpp"
#include "temporary_directory.hpp"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <optional>
#include <stdexcept>

namespace kmodguard::guest {
namespace {

using kmodguard::test::TemporaryDirectory;
using sys::ErrorKind;
using Words = std::vector<std::string>;

mode_t mode_of(const std::filesystem::path& path) {
    struct stat status{};
    EXPECT_EQ(::stat(path.c_str(), &status), 0) << path;
    return status.st_mode & 07777U;
}

sigset_t no_signals() {
    sigset_t set;
    ::sigemptyset(&set);
    return set;
}

/// A program that writes its arguments to a file, a line each, and what its descriptor in -chardev is.
class FakeEmulator {
  public:
    FakeEmulator()
        : program_(directory_.write("qemu-system-fake", R"(#!/bin/sh
here=$(dirname "$0")
printf '%s\n' "$@" > "$here/arguments"
for word; do
    case $word in socket,*) fd=${word#*fd=}; readlink "/proc/self/fd/${fd%%,*}" > "$here/descriptor";; esac
done
exit 42
)")) {
        std::filesystem::permissions(program_, std::filesystem::perms::owner_all);
    }
    [[nodiscard]] std::string program() const { return program_.string(); }
    [[nodiscard]] Words lines(const char* name) const {
        std::ifstream file(directory_ / name);
        Words lines;
        for (std::string line; std::getline(file, line);)
            lines.push_back(line);
        return lines;
    }
    [[nodiscard]] bool ran() const { return std::filesystem::exists(directory_ / "arguments"); }

  private:
    TemporaryDirectory directory_;
    std::filesystem::path program_;
};

class EmulatorTest : public testing::Test {
  protected:
    [[nodiscard]] StubSocket socket() const {
        auto made = StubSocket::create(directory_.path());
        if (!made) throw std::runtime_error(made.error().what);
        return std::move(*made);
    }
    TemporaryDirectory directory_;
    FakeEmulator emulator_;
};

using StubSocketTest = EmulatorTest;

TEST_F(StubSocketTest, IsForNobodyElseAndGoesWithItsObject) {
    std::filesystem::path path;
    {
        const auto one = socket();
        path = one.path();
        EXPECT_EQ(path.parent_path().parent_path(), directory_.path());
        EXPECT_EQ(mode_of(path.parent_path()), 0700U);
        EXPECT_EQ(mode_of(path), 0600U);
        EXPECT_TRUE(std::filesystem::is_socket(path));
        EXPECT_TRUE(sys::connect_unix(path, std::chrono::seconds(60)));
    }
    EXPECT_FALSE(std::filesystem::exists(path));
    EXPECT_EQ(directory_.names(), Words{});
}

TEST_F(StubSocketTest, HasAPlaceOfItsOwnEachTime) {
    const auto one = socket();
    const auto two = socket();
    EXPECT_NE(one.path(), two.path());
}

TEST_F(StubSocketTest, StaysWhileSomebodyHasIt) {
    std::optional<StubSocket> kept;
    {
        auto one = socket();
        kept.emplace(std::move(one));
    }
    EXPECT_TRUE(std::filesystem::is_socket(kept->path()));
    kept.reset();
    EXPECT_EQ(directory_.names(), Words{});
}

TEST_F(StubSocketTest, AnswersNobodyWhenItIsHandedOverAndTheOtherEnded) {
    auto one = socket();
    one.hand_over();
    const auto connected = sys::connect_unix(one.path(), std::chrono::seconds(60));
    ASSERT_FALSE(connected);
    EXPECT_EQ(connected.error().kind, ErrorKind::unreachable);
}

TEST_F(StubSocketTest, WithoutAFolderToBeInIsAnErrorThatLeavesNothing) {
    const auto nowhere = StubSocket::create(directory_ / "nowhere");
    ASSERT_FALSE(nowhere);
    EXPECT_TRUE(nowhere.error().what.contains((directory_ / "nowhere").string())) << nowhere.error().what;
    const auto too_long = directory_ / std::string(100, 'x'); // for the address of a socket
    std::filesystem::create_directory(too_long);
    EXPECT_FALSE(StubSocket::create(too_long));
    EXPECT_TRUE(std::filesystem::is_empty(too_long));
}

TEST_F(StubSocketTest, IsInTheRuntimeDirectoryIfNoneIsGiven) {
    const char* set = std::getenv("XDG_RUNTIME_DIR");
    const std::optional<std::string> before = set != nullptr ? std::optional<std::string>(set) : std::nullopt;
    ::setenv("XDG_RUNTIME_DIR", directory_.path().c_str(), 1);
    EXPECT_EQ(StubSocket::create("")->path().parent_path().parent_path(), directory_.path());
    const auto writable_by_all = directory_ / "all";
    std::filesystem::create_directory(writable_by_all);
    std::filesystem::permissions(writable_by_all, std::filesystem::perms::all);
    const auto link = directory_ / "link";
    std::filesystem::create_directory_symlink(directory_.path(), link);
    // Another user's, as where root has kept the environment of who called it.
    const auto others = directory_ / "others";
    std::filesystem::create_directory(others);
    const bool changed = ::chown(others.c_str(), 12345, 12345) == 0;
    for (const char* unusable :
         {"", "relative", writable_by_all.c_str(), link.c_str(), changed ? others.c_str() : "/nowhere"}) {
        ::setenv("XDG_RUNTIME_DIR", unusable, 1);
        EXPECT_EQ(StubSocket::create("")->path().parent_path().parent_path(), "/tmp") << unusable;
    }
    if (before)
        ::setenv("XDG_RUNTIME_DIR", before->c_str(), 1);
    else
        ::unsetenv("XDG_RUNTIME_DIR");
}

TEST_F(EmulatorTest, GetsItsArgumentsAndAHaltedMachineWithOurStub) {
    const auto one = socket();
    const auto child = start_emulator({emulator_.program(), "-m", "256", "a b", ""}, one, no_signals());
    ASSERT_TRUE(child);
    EXPECT_EQ(sys::wait_for(child->process)->number, 42);
    const auto chardev =
        "socket,id=kmodguard,fd=" + std::to_string(one.listener().get()) + ",server=on,wait=off";
    EXPECT_EQ(emulator_.lines("arguments"),
              (Words{"-m", "256", "a b", "", "-S", "-chardev", chardev, "-gdb", "chardev:kmodguard"}));
    const auto descriptor = emulator_.lines("descriptor");
    ASSERT_EQ(descriptor.size(), 1U);
    EXPECT_TRUE(descriptor[0].starts_with("socket:")) << descriptor[0];
}

TEST_F(EmulatorTest, OnlyTheEmulatorInheritsTheSocket) {
    const auto one = socket();
    const auto child = start_emulator({emulator_.program()}, one, no_signals());
    ASSERT_TRUE(child);
    ASSERT_TRUE(sys::wait_for(child->process));
    const auto listed = sys::run_program(
        {"sh", "-c", "test -e /proc/self/fd/" + std::to_string(one.listener().get()) + " && echo inherited"});
    ASSERT_TRUE(listed);
    EXPECT_EQ(listed->output, "");
}

TEST_F(EmulatorTest, WithAStubOfItsOwnIsNotStarted) {
    const auto one = socket();
    for (const Words& words : {Words{"-s"}, Words{"--s"}, Words{"-gdb", "tcp::1234"},
                               Words{"--gdb", "tcp::1234"}, Words{"-m", "256", "-s"}}) {
        Words command{emulator_.program()};
        command.insert(command.end(), words.begin(), words.end());
        const auto child = start_emulator(command, one, no_signals());
        ASSERT_FALSE(child) << words.front();
        EXPECT_EQ(child.error().kind, ErrorKind::invalid);
        EXPECT_FALSE(child.error().hint.empty());
    }
    EXPECT_FALSE(emulator_.ran());
}

TEST_F(EmulatorTest, OptionsThatOnlyBeginLikeTheStubsAreItsOwnBusiness) {
    const auto one = socket();
    const auto child =
        start_emulator({emulator_.program(), "-smp", "2", "s", "gdb", "-S"}, one, no_signals());
    ASSERT_TRUE(child);
    EXPECT_EQ(sys::wait_for(child->process)->number, 42);
}

TEST_F(EmulatorTest, ThatIsNotThereIsNotFound) {
    const auto one = socket();
    const auto child = start_emulator({"qemu-system-that-is-not-there"}, one, no_signals());
    ASSERT_FALSE(child);
    EXPECT_EQ(child.error().kind, ErrorKind::not_found);
}

TEST(EmulatorOptions, AreFoundWithOneDashOrTwo) {
    EXPECT_EQ(option_of({"qemu", "-kernel", "bzImage", "-append", "quiet"}, "kernel"), "bzImage");
    EXPECT_EQ(option_of({"qemu", "--kernel", "bzImage"}, "kernel"), "bzImage");
    EXPECT_EQ(option_of({"qemu", "-append", ""}, "append"), "");
}

TEST(EmulatorOptions, ThatAreNotThereOrHaveNoValueAreEmpty) {
    for (const Words& words : {Words{}, Words{"qemu"}, Words{"qemu", "-kernel"},
                               Words{"qemu", "kernel", "bzImage"}, Words{"qemu", "---kernel", "bzImage"},
                               Words{"qemu", "-kernels", "bzImage"}, Words{"qemu", "-", "-kernel"}})
        EXPECT_EQ(option_of(words, "kernel"), "") << words.size();
}

} // namespace
} // namespace kmodguard::guest
