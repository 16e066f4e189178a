// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows that images are loaded in libkmod's order: hard dependencies first, each module between its soft
// ones, everything once; and that no cycle among soft dependencies keeps it from ending.
#include "core/decision.hpp"
#include "fake_index.hpp"

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

namespace kmodguard::core {
namespace {

using test::FakeIndex;

/// "a b (c) {d}": c is a soft dependency, or needed by one only; an install command loads d.
std::string order(FakeIndex& index, std::string_view module, const std::vector<std::string>& skip = {}) {
    std::string text;
    for (const Step& step : load_order(index, module, skip)) {
        if (!text.empty()) text += ' ';
        if (step.by_command)
            text += "{" + step.module + "}";
        else
            text += step.required ? step.module : "(" + step.module + ")";
    }
    return text;
}

TEST(LoadOrder, OfAModuleAloneIsTheModule) {
    FakeIndex index;
    index.module("loop");
    EXPECT_EQ(order(index, "loop"), "loop");
}

TEST(LoadOrder, PutsHardDependenciesFirstInDepmodsOrder) {
    FakeIndex index;
    index.module("ext4").needs("crc16", "mbcache", "jbd2");
    index.module("jbd2").needs("crc16");
    index.module("mbcache");
    index.module("crc16");
    EXPECT_EQ(order(index, "ext4"), "crc16 mbcache jbd2 ext4");
}

TEST(LoadOrder, PutsSoftDependenciesAroundTheModule) {
    FakeIndex index;
    index.module("m").soft_before("p1", "p2").soft_after("q1", "q2");
    for (const auto* name : {"p1", "p2", "q1", "q2"})
        index.module(name);
    EXPECT_EQ(order(index, "m"), "(p1) (p2) m (q1) (q2)");
}

TEST(LoadOrder, PutsSoftDependenciesAroundADependencyToo) {
    FakeIndex index;
    index.module("m").needs("d").soft_before("p");
    index.module("d").soft_before("dp").soft_after("dq");
    for (const auto* name : {"p", "dp", "dq"})
        index.module(name);
    EXPECT_EQ(order(index, "m"), "(dp) d (dq) (p) m");
}

TEST(LoadOrder, BringsWhatASoftDependencyNeeds) {
    FakeIndex index;
    index.module("m").soft_before("p").soft_after("q");
    index.module("p").needs("pd").soft_before("pp").soft_after("pq");
    index.module("q").needs("qd");
    for (const auto* name : {"pd", "pp", "pq", "qd"})
        index.module(name);
    EXPECT_EQ(order(index, "m"), "(pd) (pp) (p) (pq) m (qd) (q)");
}

TEST(LoadOrder, KnowsARequiredModuleThoughASoftDependencyBringsItFirst) {
    FakeIndex index;
    index.module("m").needs("a", "b").soft_before("p");
    index.module("a").soft_before("s");
    index.module("s").needs("b");
    index.module("b");
    index.module("p").needs("a");
    EXPECT_EQ(order(index, "m"), "b (s) a (p) m");
}

TEST(LoadOrder, NamesEachModuleOnce) {
    FakeIndex index;
    index.module("m").needs("d").soft_before("d", "p").soft_after("p", "d", "m");
    index.module("d");
    index.module("p").needs("d");
    EXPECT_EQ(order(index, "m"), "d (p) m");
}

TEST(LoadOrder, EndsWhenSoftDependenciesGoInACircle) {
    FakeIndex index;
    index.module("a").soft_before("b");
    index.module("b").soft_before("c");
    index.module("c").soft_before("a").soft_after("b");
    EXPECT_EQ(order(index, "a"), "(c) (b) a");
    EXPECT_EQ(order(index, "b"), "(a) (c) b");
    EXPECT_EQ(order(index, "c"), "(b) (a) c");
}

TEST(LoadOrder, EndsWhenAModuleNamesItself) {
    FakeIndex index;
    index.module("a").needs("a").soft_before("a").soft_after("a");
    EXPECT_EQ(order(index, "a"), "a");
}

TEST(LoadOrder, LeavesBuiltInModulesOutButNotWhatTheyBring) {
    FakeIndex index;
    index.module("m").needs("d").soft_before("p");
    index.module("d").built_in().soft_before("dp");
    index.module("p").built_in();
    index.module("dp");
    EXPECT_EQ(order(index, "m"), "(dp) m");
    EXPECT_EQ(order(index, "p"), "");
}

TEST(LoadOrder, KeepsNamesThatTheIndexDoesNotKnow) {
    FakeIndex index;
    index.module("m").needs("lost").soft_before("gone");
    EXPECT_EQ(order(index, "m"), "lost (gone) m");
    EXPECT_EQ(order(index, "nothing"), "nothing");
}

TEST(LoadOrderWithoutSome, LeavesOutASoftDependencyWithAllThatOnlyItBrings) {
    FakeIndex index;
    index.module("m").soft_before("p", "r").soft_after("q");
    index.module("p").needs("pd", "shared").soft_before("pp");
    index.module("r").needs("shared");
    for (const auto* name : {"pd", "shared", "pp", "q"})
        index.module(name);
    EXPECT_EQ(order(index, "m"), "(pd) (shared) (pp) (p) (r) m (q)");
    EXPECT_EQ(order(index, "m", {"p"}), "(shared) (r) m (q)");
    EXPECT_EQ(order(index, "m", {"p", "r", "q"}), "m");
}

TEST(LoadOrderWithoutSome, LeavesOutASoftDependencyOfADependency) {
    FakeIndex index;
    index.module("m").needs("d");
    index.module("d").soft_before("p");
    index.module("p").soft_before("pp");
    index.module("pp");
    EXPECT_EQ(order(index, "m", {"pp"}), "(p) d m");
    EXPECT_EQ(order(index, "m", {"p"}), "d m");
}

TEST(LoadOrderWithoutSome, NeverLeavesOutWhatIsRequired) {
    FakeIndex index;
    index.module("m").needs("d").soft_before("d");
    index.module("d");
    EXPECT_EQ(order(index, "m", {"d", "m"}), "d m");
}

TEST(LoadOrderOfCommands, PutsWhatACommandLoadsBeforeItsModule) {
    FakeIndex index;
    index.module("m").needs("d").install_command("modprobe -i m; modprobe x");
    index.module("x").needs("xd").soft_before("xs");
    for (const auto* name : {"d", "xd", "xs"})
        index.module(name);
    EXPECT_EQ(order(index, "m"), "d {xd} {xs} {x} m");
}

TEST(LoadOrderOfCommands, FollowsTheCommandsOfWhatACommandLoads) {
    FakeIndex index;
    index.module("a").command_only("modprobe b; modprobe -i c-file");
    index.module("b").command_only("modprobe -i b-file");
    index.module("b_file");
    index.module("c_file");
    EXPECT_EQ(order(index, "a"), "{b_file} {b} {c_file} a");
}

/// A command may not come to it, and then the dependency was missing.
TEST(LoadOrderOfCommands, KeepsADependencyThatACommandLoadsToo) {
    FakeIndex index;
    index.module("m").needs("d1", "d2");
    index.module("d1").install_command("modprobe -i d1 || modprobe d2");
    index.module("d2");
    EXPECT_EQ(order(index, "m"), "{d2} d1 d2 m");
}

TEST(LoadOrderOfCommands, EndsWhereCommandsNameEachOther) {
    FakeIndex index;
    index.module("a").install_command("modprobe b");
    index.module("b").install_command("modprobe a; modprobe c");
    index.module("c").needs("a").install_command("modprobe c");
    EXPECT_EQ(order(index, "a"), "{a} {c} {b} a");
    EXPECT_EQ(order(index, "c"), "{a} {c} {b} a c");
}

TEST(LoadOrderOfCommands, IsNotConcernedByWhatDoesNotExist) {
    FakeIndex index;
    index.module("m").install_command("modprobe nothing; exec /bin/false");
    EXPECT_EQ(order(index, "m"), "m");
}

} // namespace
} // namespace kmodguard::core
