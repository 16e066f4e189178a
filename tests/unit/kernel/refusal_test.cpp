// SPDX-License-Identifier: AGPL-3.0-only
//
// What a remembered refusal answers.
#include "enforce/autoload/hook/hook.hpp"
#include "enforce/kernel/layout.hpp"

#include <gtest/gtest.h>
#include <sys/wait.h>

namespace {

TEST(RememberedRefusal, IsWhatTheKernelHandsOnOfAHookThatRefused) {
    EXPECT_TRUE(WIFEXITED(GUARD_REFUSED_STATUS));
    EXPECT_EQ(WEXITSTATUS(GUARD_REFUSED_STATUS), kmodguard::autoload::hook_refused);
}

} // namespace
