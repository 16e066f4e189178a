// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows that a module system call is known by whichever table it was made through, and that nothing but a
// seccomp listener is taken for one.
#include "enforce/process/seccomp.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/audit.h>

namespace kmodguard::process {
namespace {

TEST(CallOf, KnowsTheNumbersOfEveryTable) {
    // asm/unistd_64.h, unistd_32.h, unistd_x32.h; asm-generic/unistd.h
    constexpr int x32 = 0x40000000;
    EXPECT_EQ(call_of(AUDIT_ARCH_X86_64, 175), ModuleCall::init_module);
    EXPECT_EQ(call_of(AUDIT_ARCH_X86_64, 313), ModuleCall::finit_module);
    EXPECT_EQ(call_of(AUDIT_ARCH_X86_64, 176), ModuleCall::delete_module);
    EXPECT_EQ(call_of(AUDIT_ARCH_X86_64, x32 + 175), ModuleCall::init_module);
    EXPECT_EQ(call_of(AUDIT_ARCH_X86_64, x32 + 313), ModuleCall::finit_module);
    EXPECT_EQ(call_of(AUDIT_ARCH_I386, 128), ModuleCall::init_module);
    EXPECT_EQ(call_of(AUDIT_ARCH_I386, 350), ModuleCall::finit_module);
    EXPECT_EQ(call_of(AUDIT_ARCH_I386, 129), ModuleCall::delete_module);
    EXPECT_EQ(call_of(AUDIT_ARCH_AARCH64, 105), ModuleCall::init_module);
    EXPECT_EQ(call_of(AUDIT_ARCH_AARCH64, 273), ModuleCall::finit_module);
    EXPECT_EQ(call_of(AUDIT_ARCH_ARM, 379), ModuleCall::finit_module);
}

TEST(CallOf, TakesNoOtherForOneOfThem) {
    EXPECT_EQ(call_of(AUDIT_ARCH_X86_64, 128), ModuleCall::other);
    EXPECT_EQ(call_of(AUDIT_ARCH_I386, 175), ModuleCall::other);
    EXPECT_EQ(call_of(AUDIT_ARCH_X86_64, 100'000), ModuleCall::other);
    EXPECT_EQ(call_of(AUDIT_ARCH_X86_64, -1), ModuleCall::other);
    EXPECT_EQ(call_of(0, 175), ModuleCall::other);
}

TEST(Listener, IsNothingElse) {
    EXPECT_FALSE(Listener::adopt(sys::UniqueFd(::open("/dev/null", O_RDONLY | O_CLOEXEC))).has_value());
    EXPECT_FALSE(Listener::adopt(sys::UniqueFd()).has_value());
}

TEST(Filter, IsForEveryTableOfTheKernel) {
    const auto program = build_filter();
    ASSERT_TRUE(program.has_value()) << program.error().what;
    EXPECT_GT(program->size(), 8U);
}

} // namespace
} // namespace kmodguard::process
