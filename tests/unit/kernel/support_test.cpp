// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows what can be told of a machine without being root on it. What each kernel offers is shown in tests/vm.
#include "enforce/kernel/support.hpp"
#include "temporary_directory.hpp"

#include <gtest/gtest.h>

namespace kmodguard::kernel {
namespace {

TEST(Support, MechanismsHaveNames) {
    EXPECT_EQ(to_string(Mechanism::lsm), "lsm");
    EXPECT_EQ(to_string(Mechanism::fmod_ret), "fmod_ret");
}

TEST(Support, AnotherRootIsNotTheMachineToGuard) {
    const test::TemporaryDirectory root;
    const Support support = examine(sys::Paths(root.path()));
    EXPECT_EQ(support.problem, "paths are below another root than the machine's");
    EXPECT_FALSE(support.hint.empty());
    EXPECT_FALSE(support.kernel_unpacks);
}

TEST(Support, KernelThatUnpacksModulesSaysSo) {
    const test::TemporaryDirectory root;
    std::filesystem::create_directories(root / "sys/module");
    root.write("sys/module/compression", "xz\n");
    EXPECT_TRUE(examine(sys::Paths(root.path())).kernel_unpacks);
}

TEST(Support, WhatThisMachineLacksComesWithAHint) {
    const Support support = examine(sys::Paths());
    EXPECT_EQ(support.problem.empty(), support.hint.empty()) << support.problem;
    for (const std::string& note : support.notes)
        EXPECT_FALSE(note.empty());
}

} // namespace
} // namespace kmodguard::kernel
