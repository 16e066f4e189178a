// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows the plans that the daemon answers with, line by line, for decisions over a tree that depmod has
// indexed, and that no plan is used any more once a file of it has changed.
#include "enforce/autoload/plan.hpp"
#include "module_tree.hpp"
#include "modules/elf_builder.hpp"
#include "modules/kmod_index.hpp"
#include "policy_builder.hpp"
#include "sys/file.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <utility>

namespace kmodguard::autoload {
namespace {

using test::ModuleTree;
using test::PolicyBuilder;
using Lines = std::vector<std::string>;

class PlanTest : public ::testing::Test {
  protected:
    PlanTest() { add_usual_modules(tree); }

    modules::KmodIndex& index() {
        if (!index_) index_ = std::move(modules::KmodIndex::open(tree.paths(), ModuleTree::release).value());
        return *index_;
    }
    core::Decision decide(const PolicyBuilder& policy, const std::string& token) {
        return core::decide(policy.build(), index(), token);
    }
    Lines plan(const PolicyBuilder& policy, const std::string& token, std::string_view compression = "") {
        static const std::map<std::string_view, std::string> methods = {
            {"", ""}, {".xz", "xz"}, {".zst", "zstd"}};
        tree.write("sys/module/compression", methods.at(compression) + "\n");
        index_.reset();
        Lines lines;
        Plan plan = plan_of(decide(policy, token), index(), images);
        for (const protocol::Field& field : plan.lines)
            lines.push_back(field.key + " " + field.value);
        handed = std::move(plan.images);
        return lines;
    }
    std::filesystem::path path(const std::string& file) const {
        return tree / ("lib/modules/" + ModuleTree::release + "/kernel/" + file);
    }
    std::string judged(const std::string& file) const {
        const auto now = sys::file_identity(path(file)).value();
        return fmt::format("judged {} {} {} {}", now.device, now.inode, now.size, now.changed_ns);
    }
    std::string modprobe(const std::string& module, const std::string& suffix = ".ko") const {
        return fmt::format("modprobe required {} {}", module, path(module + suffix).native());
    }
    std::string insert(const std::string& module, const std::string& need = "required") const {
        return fmt::format("insert {} {} {}", need, module, path(module + ".ko").native());
    }

    ModuleTree tree;
    compiled::UnpackedImages images{tree.paths()};
    std::vector<compiled::UnpackedImages::Handle> handed; ///< with the last plan

  private:
    std::unique_ptr<modules::KmodIndex> index_;
};

TEST_F(PlanTest, NamesEachImageWithItsStateAndItsOptionsInOrder) {
    EXPECT_EQ(plan(PolicyBuilder().allow("kmt_needs"), "kmt-alias-1"),
              (Lines{"group kmt_needs", judged("kmt_base.ko"), insert("kmt_base"),
                     "options depth=3 name=\"a b\"", judged("kmt_needs.ko"), insert("kmt_needs")}));
}

TEST_F(PlanTest, SoftDependenciesAreSoft) {
    EXPECT_EQ(
        plan(PolicyBuilder().allow("kmt_soft"), "kmt_soft"),
        (Lines{"group kmt_soft", judged("kmt_base.ko"), insert("kmt_base", "soft"), judged("kmt_soft.ko"),
               insert("kmt_soft"), judged("kmt_after.ko"), insert("kmt_after", "soft")}));
}

TEST_F(PlanTest, OnlyTheAllowedOneOfTwoIsInIt) {
    EXPECT_EQ(plan(PolicyBuilder().allow("kmt_twin_b"), "kmt-twin-1"),
              (Lines{"group kmt_twin_b", judged("kmt_twin_b.ko"), insert("kmt_twin_b")}));
    EXPECT_EQ(plan(PolicyBuilder().allow_alias("kmt-twin-*").deny("kmt_twin_b"), "kmt-twin-1"),
              (Lines{"group kmt_twin_a", judged("kmt_twin_a.ko"), insert("kmt_twin_a")}));
    EXPECT_EQ(plan(PolicyBuilder().allow("kmt_twin_a", "kmt_twin_b"), "kmt-twin-1").size(), 6U);
}

TEST_F(PlanTest, RefusedBuiltInOrUnknownIsAnEmptyPlan) {
    EXPECT_EQ(plan(PolicyBuilder().allow("kmt_after"), "kmt_base"), Lines{});
    EXPECT_EQ(plan(PolicyBuilder().allow("kmt_inside"), "kmt_inside"), Lines{});
    EXPECT_EQ(plan(PolicyBuilder(), "kmt_nothing"), Lines{});
    EXPECT_EQ(plan(PolicyBuilder().allow("kmt_liar"), "kmt_liar"), Lines{}); // its image is that of another
}

TEST_F(PlanTest, InstallCommandIsForTheOriginalHandler) {
    EXPECT_EQ(plan(PolicyBuilder().allow("kmt_installed"), "kmt_installed"),
              (Lines{"group kmt_installed", judged("kmt_installed.ko"), modprobe("kmt_installed")}));
}

TEST_F(PlanTest, CompressedImageGoesToAKernelThatUnpacksItElseToTheOriginalHandler) {
    tree.add({.name = "kmt_xz", .needs = {"kmt_base"}, .packing = modules::Container::xz})
        .add({.name = "kmt_zstd", .packing = modules::Container::zstd})
        .depmod();
    const auto policy = PolicyBuilder().allow("kmt_xz", "kmt_zstd");
    const Lines base{"group kmt_xz", judged("kmt_base.ko"), insert("kmt_base")};
    Lines expected = base;
    expected.insert(expected.end(), {judged("kmt_xz.ko.xz"),
                                     "insert-compressed required kmt_xz " + path("kmt_xz.ko.xz").native()});
    EXPECT_EQ(plan(policy, "kmt_xz", ".xz"), expected);
    expected = base;
    expected.push_back(judged("kmt_xz.ko.xz"));
    expected.push_back(modprobe("kmt_xz", ".ko.xz"));
    EXPECT_EQ(plan(policy, "kmt_xz", ".zst"), expected);
    EXPECT_EQ(plan(policy, "kmt_xz", ""), expected);
    EXPECT_EQ(plan(policy, "kmt_zstd", ".zst").back(),
              "insert-compressed required kmt_zstd " + path("kmt_zstd.ko.zst").native());
}

TEST_F(PlanTest, OptionsThatNoLineHoldsAreForTheOriginalHandler) {
    tree.write("etc/modprobe.d/long.conf",
               "options kmt_base list=" + std::string(2048, 'x') + "\noptions kmt_after odd=\x01\n");
    EXPECT_EQ(plan(PolicyBuilder().allow("kmt_base"), "kmt_base"),
              (Lines{"group kmt_base", judged("kmt_base.ko"), modprobe("kmt_base")}));
    EXPECT_EQ(plan(PolicyBuilder().allow("kmt_after"), "kmt_after"),
              (Lines{"group kmt_after", judged("kmt_after.ko"), modprobe("kmt_after")}));
    EXPECT_EQ(plan(PolicyBuilder().allow("kmt_twin_a"), "kmt_twin_a").back(), insert("kmt_twin_a"));
}

TEST_F(PlanTest, AuditModePlansWhatWouldLoadWithoutAGuard) {
    EXPECT_EQ(plan(PolicyBuilder().audit(), "kmt_needs"),
              (Lines{"group kmt_needs", "judged any", insert("kmt_base"), "options depth=3 name=\"a b\"",
                     "judged any", insert("kmt_needs")}));
    EXPECT_EQ(plan(PolicyBuilder().audit().deny("kmt_base"), "kmt_base"),
              (Lines{"group kmt_base", "judged any", insert("kmt_base")}));
    EXPECT_EQ(plan(PolicyBuilder().audit(), "kmt-hidden-1"), Lines{}); // modprobe would not, either
    EXPECT_EQ(plan(PolicyBuilder().audit(), "kmt_inside"), Lines{});
}

TEST_F(PlanTest, WhatIsKeptUnpackedGoesAlongIfItIsOfTheFileThatWasJudged) {
    tree.add({.name = "kmt_packed", .packing = modules::Container::xz}).depmod();
    const PolicyBuilder policy = PolicyBuilder().allow("kmt_packed");
    const std::string insert = "insert-compressed required kmt_packed " + path("kmt_packed.ko.xz").native();
    const auto keep = [this](const std::string& state) {
        images.keep("kmt_packed", path("kmt_packed.ko.xz"),
                    {.problem = {}, .name = "kmt_packed", .modinfo_name = {}, .state = state}, "unpacked",
                    sys::sealed_image_file("unpacked", "an image"));
    };
    EXPECT_EQ(plan(policy, "kmt_packed", ".xz"),
              (Lines{"group kmt_packed", judged("kmt_packed.ko.xz"), insert}));
    EXPECT_EQ(handed.size(), 0U);
    keep(to_string(sys::file_identity(path("kmt_packed.ko.xz")).value()));
    EXPECT_EQ(plan(policy, "kmt_packed", ".xz"),
              (Lines{"group kmt_packed", judged("kmt_packed.ko.xz"), "unpacked 4096", insert}));
    ASSERT_EQ(handed.size(), 1U);
    EXPECT_EQ(handed.front()->name, "unpacked");
    EXPECT_EQ(plan(policy, "kmt_packed"),
              (Lines{"group kmt_packed", judged("kmt_packed.ko.xz"), modprobe("kmt_packed", ".ko.xz")}))
        << "a kernel that does not decompress";
    keep("1 2 3 4");
    EXPECT_EQ(plan(policy, "kmt_packed", ".xz"),
              (Lines{"group kmt_packed", judged("kmt_packed.ko.xz"), insert}));
}

class CurrentTest : public PlanTest {
  protected:
    void expect_outdated_by(const std::function<void()>& change) {
        const auto decision = decide(PolicyBuilder().allow("kmt_needs"), "kmt_needs");
        ASSERT_EQ(decision.effective(), core::Verdict::allow);
        EXPECT_TRUE(compiled::is_current(decision, index()));
        change();
        EXPECT_FALSE(compiled::is_current(decision, index()));
    }
};

TEST_F(CurrentTest, NotAfterAFileWasRewritten) {
    expect_outdated_by([this] { tree.add({.name = "kmt_needs"}); });
}

TEST_F(CurrentTest, NotAfterADependencyWasReplacedByACopy) {
    std::filesystem::copy_file(path("kmt_base.ko"), path("copy"));
    expect_outdated_by([this] { std::filesystem::rename(path("copy"), path("kmt_base.ko")); });
}

TEST_F(CurrentTest, NotAfterAFileIsGone) {
    expect_outdated_by([this] { std::filesystem::remove(path("kmt_needs.ko")); });
}

TEST_F(CurrentTest, StillAfterAnotherModulesFileChanged) {
    const auto decision = decide(PolicyBuilder().allow("kmt_needs"), "kmt_needs");
    tree.add({.name = "kmt_after", .aliases = {"kmt-new"}});
    EXPECT_TRUE(compiled::is_current(decision, index()));
}

TEST_F(CurrentTest, RefusalHasNoFilesToChange) {
    const auto decision = decide(PolicyBuilder(), "kmt_needs");
    tree.add({.name = "kmt_needs"});
    EXPECT_TRUE(compiled::is_current(decision, index()));
}

/// An index that had meanwhile judged the new file for another request lent its state to the old decision.
TEST_F(CurrentTest, NotAfterTheNewFileWasJudgedForAnotherRequest) {
    expect_outdated_by([this] {
        tree.add({.name = "kmt_needs", .calls_itself = "kmt_evil"});
        EXPECT_EQ(decide(PolicyBuilder().allow("kmt_needs"), "kmt_needs").reason,
                  core::Reason::contradictory_image);
    });
}

TEST_F(PlanTest, ModuleThatOnlyModprobeLoadsIsRefusedIfItsNameMeansAnotherThere) {
    tree.write("etc/modprobe.d/shadow.conf", "install kmt_base /bin/true\nalias kmt_base kmt_after\n");
    EXPECT_EQ(decide(PolicyBuilder().allow("kmt_needs"), "kmt_needs").reason, core::Reason::shadowed_name);
    EXPECT_EQ(plan(PolicyBuilder().allow("kmt_needs").deny("kmt_after"), "kmt_needs"), Lines{});
}

TEST_F(PlanTest, SoftDependencyThatModprobeWouldBringIsNotLeftOutButRefuses) {
    tree.write("etc/modprobe.d/long.conf", "options kmt_soft list=" + std::string(2049, 'x') + "\n");
    const auto decision = decide(PolicyBuilder().allow("kmt_soft").without_dependencies(), "kmt_soft");
    EXPECT_EQ(decision.reason, core::Reason::unlisted_dependency) << explain(decision);
}

} // namespace
} // namespace kmodguard::autoload
