// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows that a link in an image of another machine means what it means there: nothing outside of the image.
#include "sys/paths.hpp"
#include "temporary_directory.hpp"

#include <gtest/gtest.h>

#include <filesystem>

namespace kmodguard::sys {
namespace {

namespace fs = std::filesystem;

class LinksTest : public ::testing::Test {
  protected:
    LinksTest() { directory.write("root/usr/lib/file", "inside"); }

    void link(const char* name, const fs::path& target) const {
        fs::create_directories((root / name).parent_path());
        fs::create_symlink(target, root / name);
    }
    [[nodiscard]] fs::path follow(const char* name) const { return follow_below(root, root / name); }

    test::TemporaryDirectory directory;
    fs::path root = directory / "root";
};

TEST_F(LinksTest, AnAbsoluteLinkIsOneBelowTheRoot) {
    link("etc/link", "/usr/lib/file");
    link("lib", "/usr/lib");
    link("twice", "/etc/link");
    for (const char* name : {"etc/link", "lib/file", "twice"})
        EXPECT_EQ(follow(name), root / "usr/lib/file") << name;
    EXPECT_EQ(follow("lib/new"), root / "usr/lib/new") << "what is to be made";
}

TEST_F(LinksTest, NothingLeadsAboveTheRoot) {
    link("up", "../../../../../../usr/lib/file");
    link("etc/deep/up", "../../../usr/lib/file");
    link("through", "/etc/../../../usr/lib");
    for (const char* name : {"up", "etc/deep/up", "through/file"})
        EXPECT_EQ(follow(name), root / "usr/lib/file") << name;
}

TEST_F(LinksTest, WhatDoesNotLeadOutStaysAsItIsNamed) {
    link("relative", "usr/lib");
    link("usr/up", "../usr/lib");
    for (const char* name : {"relative/file", "usr/up/file", "usr/lib/file", "no/such/file"})
        EXPECT_EQ(follow(name), root / name) << name;
}

TEST_F(LinksTest, ALinkThatLeadsInCirclesLeadsNowhere) {
    link("circle", "/circle");
    link("one", "/other");
    link("other", "/one");
    link("self", "self");
    for (const char* name : {"circle", "one", "self"}) {
        std::error_code error; // it may be that of too many links
        EXPECT_FALSE(fs::exists(follow(name), error)) << name;
    }
    EXPECT_EQ(follow("self"), root / "self") << "the kernel says it itself";
}

TEST_F(LinksTest, PathsBelowAnotherRootDoNotLeadOutOfIt) {
    directory.write("root/srv/policy.toml", "version = 1\n");
    directory.write("root/srv/modules/6.1/modules.dep", "");
    link("etc/kmodguard/policy.toml", "/srv/policy.toml");
    link("lib/modules", "/srv/modules");
    const Paths paths(root);
    EXPECT_EQ(paths.policy(), root / "srv/policy.toml");
    EXPECT_EQ(paths.modules("6.1"), root / "srv/modules/6.1");
    EXPECT_EQ(paths.below("/etc/kmodguard/policy.toml"), root / "srv/policy.toml");
    EXPECT_EQ(Paths(root / "").policy(), root / "srv/policy.toml");
}

} // namespace
} // namespace kmodguard::sys
