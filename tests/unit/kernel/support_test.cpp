// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows what can be told of a machine without being root on it. What each kernel offers is shown in tests/vm.
#include "enforce/kernel/status.hpp"
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
    const Support support = inspect(sys::Paths(root.path()));
    EXPECT_EQ(support.problem, Problem::other_root);
    EXPECT_EQ(error_of(support.problem).what, "paths are below another root than the machine's");
    EXPECT_FALSE(error_of(support.problem).hint.empty());
    EXPECT_FALSE(support.kernel_decompresses);
}

TEST(Support, KernelThatUnpacksModulesSaysSo) {
    const test::TemporaryDirectory root;
    std::filesystem::create_directories(root / "sys/module");
    root.write("sys/module/compression", "xz\n");
    EXPECT_TRUE(inspect(sys::Paths(root.path())).kernel_decompresses);
}

TEST(Support, WhatThisMachineLacksComesWithAHint) {
    const Support support = inspect(sys::Paths());
    const sys::Error error = error_of(support.problem);
    EXPECT_EQ(error.what.empty(), error.hint.empty()) << error.what;
    EXPECT_EQ(error.what.empty(), support.problem == Problem::none);
    for (const Note note : support.notes)
        EXPECT_FALSE(text_of(note).what.empty());
}

} // namespace
} // namespace kmodguard::kernel
