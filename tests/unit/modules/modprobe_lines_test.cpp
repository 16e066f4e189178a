// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows which lines of modprobe.d are said to be passed over, and that libkmod takes nothing from them.
#include "module_tree.hpp"
#include "modules/kmod_context.hpp"

#include <gtest/gtest.h>

namespace kmodguard::modules {
namespace {

using Lines = std::vector<std::pair<unsigned, std::string>>;

Lines ignored(std::string_view text) {
    Lines lines;
    for (const IgnoredLine& line : ignored_lines_of(text))
        lines.emplace_back(line.line, line.word);
    return lines;
}

TEST(ModprobeLines, WhatModprobeObeysIsNotNamed) {
    EXPECT_EQ(
        ignored("# comment\n\nalias a b\n\tblacklist c # more\noptions d e=1 f=2\ninstall g /bin/false\n"
                "remove h true\nsoftdep i pre: j\nweakdep k l"),
        Lines{});
}

TEST(ModprobeLines, SlipsAreNamedByTheLineThatTheyBeginOn) {
    EXPECT_EQ(
        ignored(
            "blacklsit a\nalias b\n  # no comment behind a blank\n\noptions c\nalias \\\n d e\ninclude f\n"),
        (Lines{{1, "blacklsit"}, {2, "alias"}, {3, "#"}, {5, "options"}, {8, "include"}}));
}

TEST(ModprobeLines, AFileInAnEarlierFolderStandsForThoseOfItsName) {
    const test::ModuleTree tree;
    tree.write("etc/modprobe.d/one.conf", "blacklist a\n");
    tree.write("lib/modprobe.d/one.conf", "rubbish\n");
    tree.write("lib/modprobe.d/two.conf", "blacklist a\nrubbish\n");
    tree.write("lib/modprobe.d/three.txt", "rubbish\n");
    const auto found = ignored_lines(tree.paths());
    ASSERT_EQ(found.size(), 1U);
    EXPECT_EQ(found[0], (IgnoredLine{tree / "lib/modprobe.d/two.conf", 2, "rubbish"}));
}

} // namespace
} // namespace kmodguard::modules
