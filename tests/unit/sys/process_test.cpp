// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows what is known of a process that asks for something, and that nothing is made up of what is not.
#include "sys/process.hpp"
#include "temporary_directory.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

namespace kmodguard::sys {
namespace {

TEST(ProcessIdentity, OfThisProcess) {
    const auto self = identify_process(::getpid(), ::geteuid());
    EXPECT_EQ(self.pid, ::getpid());
    EXPECT_EQ(self.uid, ::geteuid());
    EXPECT_EQ(self.command, "test_sys");
}

TEST(ProcessIdentity, WhoLoggedIn) {
    const test::TemporaryDirectory proc;
    std::filesystem::create_directory(proc / "7");
    const auto login_uid = [&proc](const std::string& text) {
        proc.write("7/loginuid", text);
        return identify_process(7, 0, proc.path()).login_uid;
    };
    EXPECT_EQ(login_uid("1000"), 1000U);
    EXPECT_EQ(login_uid("0"), 0U);
    EXPECT_EQ(login_uid("4294967295"), std::nullopt) << "of no session";
    for (const char* text : {"", "-1", "x", "1000x", "99999999999"})
        EXPECT_EQ(login_uid(text), std::nullopt) << text;
}

TEST(ProcessIdentity, OfOneThatIsGoneItsNumber) {
    const test::TemporaryDirectory proc;
    const auto gone = identify_process(7, 65534, proc.path());
    EXPECT_EQ(gone.pid, 7);
    EXPECT_EQ(gone.uid, 65534U);
    EXPECT_EQ(gone.command, "");
    EXPECT_EQ(gone.login_uid, std::nullopt);
}

} // namespace
} // namespace kmodguard::sys
