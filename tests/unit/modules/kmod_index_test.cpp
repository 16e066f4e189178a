// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows that the index knows the modules of a kernel as modprobe does: on a tree that depmod has indexed, and
// against what modprobe itself says it would load.
#include "core/decision.hpp"
#include "module_tree.hpp"
#include "modules/kmod_index.hpp"
#include "sys/file.hpp"
#include "sys/process.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>
#include <stdexcept>
#include <utility>

namespace kmodguard::modules {
namespace {

using test::ModuleTree;
using Names = std::vector<std::string>;

class KmodIndexTest : public ::testing::Test {
  protected:
    KmodIndexTest() { add_usual_modules(tree); }

    KmodIndex& index() {
        if (!index_) {
            auto opened = KmodIndex::open(tree.paths(), ModuleTree::release);
            if (!opened) throw std::runtime_error(opened.error().what);
            index_ = std::move(*opened);
        }
        return *index_;
    }
    Names resolved(std::string_view token) {
        Names names = index().resolve(token);
        std::ranges::sort(names);
        return names;
    }
    const core::ModuleRecord& record(const std::string& name) {
        const core::ModuleRecord* found = index().find(name);
        if (found == nullptr) throw std::runtime_error("no " + name);
        return *found;
    }
    std::string image_path(const std::string& name) const {
        return tree / ("lib/modules/" + ModuleTree::release + "/kernel/" + name + ".ko");
    }

    ModuleTree tree;

  private:
    std::unique_ptr<KmodIndex> index_;
};

TEST_F(KmodIndexTest, NameResolvesToItsModuleInAnySpelling) {
    EXPECT_EQ(resolved("kmt_base"), Names{"kmt_base"});
    EXPECT_EQ(resolved("kmt-base"), Names{"kmt_base"});
    EXPECT_EQ(resolved("kmt-dashed"), Names{"kmt_dashed"});
    EXPECT_EQ(resolved("kmt_dashed"), Names{"kmt_dashed"});
}

TEST_F(KmodIndexTest, AliasResolvesToEveryModuleThatAnswersToIt) {
    EXPECT_EQ(resolved("kmt-twin-1"), (Names{"kmt_twin_a", "kmt_twin_b"}));
    EXPECT_EQ(resolved("kmt-twin-2"), Names{"kmt_twin_a"});
    EXPECT_EQ(resolved("kmt-only-b"), Names{"kmt_twin_b"});
    EXPECT_EQ(resolved("kmt_alias_x"), Names{"kmt_needs"});
}

TEST_F(KmodIndexTest, AliasOfTheConfigurationResolves) {
    EXPECT_EQ(resolved("kmt-configured"), Names{"kmt_deep"});
    EXPECT_NE(std::ranges::find(*index().aliases("kmt_deep"), "kmt_configured"),
              index().aliases("kmt_deep")->end());
}

TEST_F(KmodIndexTest, BlacklistedAndBuiltInOnesAreResolvedAndMarked) {
    EXPECT_EQ(resolved("kmt-hidden-1"), Names{"kmt_hidden"});
    EXPECT_TRUE(record("kmt_hidden").blacklisted);
    EXPECT_FALSE(record("kmt_base").blacklisted);
    EXPECT_EQ(resolved("kmt_inside"), Names{"kmt_inside"});
    EXPECT_TRUE(record("kmt_inside").built_in);
    EXPECT_EQ(record("kmt_inside").path, "");
    EXPECT_FALSE(record("kmt_base").built_in);
    EXPECT_EQ(record("kmt_base").path, image_path("kmt_base"));
}

TEST_F(KmodIndexTest, WhatNobodyAnswersToResolvesToNothing) {
    for (const std::string& token :
         {std::string("kmt_nothing"), std::string("-r"), std::string("../../tmp/kmt_base"),
          std::string(5000, 'a'), std::string("\xff"), std::string("kmt_*"), std::string("")}) {
        EXPECT_EQ(resolved(token), Names{}) << token;
        EXPECT_EQ(index().find(token), nullptr) << token;
    }
}

/// libkmod reads a name up to its first dot. Nothing asks for such a name today; see KmodIndex::find.
TEST_F(KmodIndexTest, NameWithADotIsNotThatOfTheModuleBeforeTheDot) {
    for (const char* name : {"kmt_base.ko", "kmt_base.1"}) {
        EXPECT_EQ(resolved(name), Names{}) << name;
        EXPECT_EQ(index().find(name), nullptr) << name;
    }
}

TEST_F(KmodIndexTest, HardDependenciesAreAllThereInTheirOrder) {
    EXPECT_EQ(record("kmt_base").dependencies, Names{});
    EXPECT_EQ(record("kmt_needs").dependencies, Names{"kmt_base"});
    EXPECT_EQ(record("kmt_deep").dependencies, (Names{"kmt_base", "kmt_needs"}));
}

TEST_F(KmodIndexTest, SoftDependenciesAreToldApart) {
    EXPECT_EQ(record("kmt_soft").soft_before, Names{"kmt_base"});
    EXPECT_EQ(record("kmt_soft").soft_after, Names{"kmt_after"});
    EXPECT_EQ(record("kmt_soft").dependencies, Names{});
    EXPECT_EQ(record("kmt_base").soft_before, Names{});
}

TEST_F(KmodIndexTest, OptionsAndInstallCommandsAreRead) {
    EXPECT_EQ(record("kmt_needs").options, "depth=3 name=\"a b\"");
    EXPECT_EQ(record("kmt_base").options, "");
    EXPECT_TRUE(record("kmt_installed").install_command);
    EXPECT_FALSE(record("kmt_base").install_command);
}

/// An absolute link below another root is one to a file below that root; the running machine has others.
TEST_F(KmodIndexTest, LinksOfAnotherRootDoNotLeadOutOfIt) {
    namespace fs = std::filesystem;
    tree.add({.name = "kmt_linked", .aliases = {"kmt-by-link"}}).depmod();
    const fs::path target = tree / "srv/kmt_linked.ko";
    fs::create_directories(target.parent_path());
    fs::rename(image_path("kmt_linked"), target);
    fs::create_symlink("/srv/kmt_linked.ko", image_path("kmt_linked"));
    tree.write("srv/of-this-root.conf", "options kmt_linked number=1\n");
    tree.write("lib/modprobe.d/masked.conf", "blacklist kmt_linked\n");
    tree.write("etc/modprobe.d/plain.conf", "options kmt_base number=2\n");
    fs::create_symlink("/srv/of-this-root.conf", tree / "etc/modprobe.d/link.conf");
    fs::create_symlink("/dev/null", tree / "etc/modprobe.d/masked.conf");

    EXPECT_EQ(record("kmt_linked").path, target);
    EXPECT_EQ(index().image(record("kmt_linked"), false).name, "kmt_linked");
    ASSERT_NE(index().aliases("kmt_linked"), nullptr);
    EXPECT_EQ(*index().aliases("kmt_linked"), Names{"kmt-by-link"});
    EXPECT_EQ(record("kmt_linked").options, "number=1");
    EXPECT_FALSE(record("kmt_linked").blacklisted);
    EXPECT_EQ(record("kmt_base").options, "number=2");
}

TEST_F(KmodIndexTest, OwnAliasesAreThoseOfTheImage) {
    EXPECT_EQ(*index().aliases("kmt_twin_b"), (Names{"kmt-twin-1", "kmt-only-b"}));
    EXPECT_EQ(*index().aliases("kmt_base"), Names{});
    EXPECT_EQ(index().aliases("kmt_nothing"), nullptr);
}

TEST_F(KmodIndexTest, UnknownNamesAreNotRemembered) {
    EXPECT_EQ(index().find("kmt_new"), nullptr);
    EXPECT_EQ(index().aliases("kmt_new"), nullptr);
    EXPECT_EQ(&record("kmt_base"), &record("kmt_base")); // what exists is
    tree.add({.name = "kmt_new"}).depmod();
    auto newer = KmodIndex::open(tree.paths(), ModuleTree::release);
    ASSERT_TRUE(newer);
    EXPECT_NE((*newer)->find("kmt_new"), nullptr);
}

TEST_F(KmodIndexTest, FindTakesCanonicalNamesOnly) {
    EXPECT_NE(index().find("kmt_dashed"), nullptr);
    EXPECT_EQ(index().find("kmt-dashed"), nullptr);
}

TEST_F(KmodIndexTest, ImageIsJudgedByItsContentAndTheFileRemembered) {
    const core::ImageFacts facts = index().image(record("kmt_base"), false);
    EXPECT_EQ(facts.problem, "");
    EXPECT_EQ(facts.name, "kmt_base");
    EXPECT_FALSE(facts.sha256);
    EXPECT_EQ(facts.state, to_string(sys::file_identity(image_path("kmt_base")).value()));
    EXPECT_TRUE(index().image(record("kmt_base"), true).sha256);
    EXPECT_EQ(index().image(record("kmt_liar"), false).name, "kmt_base");
}

TEST_F(KmodIndexTest, ImageThatChangedIsReadAgain) {
    EXPECT_EQ(index().image(record("kmt_base"), true).name, "kmt_base");
    const auto before = index().image(record("kmt_base"), true).state;
    tree.add({.name = "kmt_base", .calls_itself = "kmt_evil"});
    EXPECT_EQ(index().image(record("kmt_base"), true).name, "kmt_evil");
    EXPECT_NE(index().image(record("kmt_base"), true).state, before);
    std::filesystem::remove(image_path("kmt_base"));
    EXPECT_NE(index().image(record("kmt_base"), false).problem, "");
    EXPECT_EQ(index().image(record("kmt_base"), false).state, "");
}

/// They counted as none from then on, and so a denied alias as not denied.
TEST_F(KmodIndexTest, AliasesThatCannotBeReadNowAreNotRememberedAsNone) {
    const std::string kept = sys::read_file(image_path("kmt_twin_b"), 1 << 20).value();
    ASSERT_TRUE(sys::write_file_atomically(image_path("kmt_twin_b"), kept.substr(0, 40), 0644));
    EXPECT_EQ(index().aliases("kmt_twin_b"), nullptr);
    ASSERT_TRUE(sys::write_file_atomically(image_path("kmt_twin_b"), kept, 0644));
    ASSERT_NE(index().aliases("kmt_twin_b"), nullptr);
    EXPECT_FALSE(index().aliases("kmt_twin_b")->empty());
}

/// It was said to have none.
TEST_F(KmodIndexTest, OfAModuleThatDepmodHasNotSeenNoAliasesAreKnown) {
    tree.add({.name = "kmt_new"});
    EXPECT_EQ(index().aliases("kmt_new"), nullptr);
    EXPECT_EQ(index().aliases("kmt_nowhere"), nullptr);
    EXPECT_NE(index().aliases("kmt_base"), nullptr);
}

TEST_F(KmodIndexTest, IsNotThereWithoutDepmod) {
    const auto opened = KmodIndex::open(tree.paths(), "6.6.6-missing");
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().kind, sys::ErrorKind::not_found);
    EXPECT_NE(opened.error().hint.find("depmod 6.6.6-missing"), std::string::npos);
}

TEST_F(KmodIndexTest, InstalledModulesAreThoseWithAnImage) {
    tree.add({.name = "kmt_packed", .packing = Container::xz});
    Names names = installed_modules(tree.paths(), ModuleTree::release);
    EXPECT_NE(std::ranges::find(names, "kmt_packed"), names.end());
    EXPECT_NE(std::ranges::find(names, "kmt_dashed"), names.end());
    EXPECT_EQ(std::ranges::find(names, "kmt_inside"), names.end());
    EXPECT_TRUE(std::ranges::is_sorted(names));
    EXPECT_EQ(names.size(), 12U);
    EXPECT_EQ(installed_modules(tree.paths(), "6.6.6-missing"), Names{});
}

/// The lines of `text` without the blanks at their ends, each but once, "builtin" ones left out.
Names distinct_lines(const std::string& text) {
    std::istringstream lines(text);
    Names distinct;
    for (std::string line; std::getline(lines, line);) {
        line.erase(line.find_last_not_of(' ') + 1);
        if (!line.starts_with("builtin") && std::ranges::find(distinct, line) == distinct.end())
            distinct.push_back(line);
    }
    return distinct;
}

/// modprobe's own words, "insmod PATH OPTIONS" or "install COMMAND", against ours for the same chain.
TEST_F(KmodIndexTest, LoadsWhatModprobeWouldLoad) {
    tree.add({.name = "kmt_packed", .needs = {"kmt_needs"}, .packing = Container::xz});
    tree.add({.name = "kmt_zstd", .packing = Container::zstd});
    tree.add({.name = "kmt_soft_chain",
              .needs = {"kmt_packed"},
              .softdep = "pre: kmt_soft kmt_inside post: kmt_deep"});
    tree.depmod();
    Names tokens = installed_modules(tree.paths(), ModuleTree::release);
    ASSERT_EQ(tokens.size(), 14U);
    tokens.insert(tokens.end(), {"kmt_inside", "kmt-alias-x", "kmt-twin-2", "kmt-configured"});
    for (const std::string& token : tokens) {
        const auto finished = sys::run_program({"/sbin/modprobe", "-d", tree.paths().root().native(), "-C",
                                                (tree / "etc/modprobe.d").native(), "-S", ModuleTree::release,
                                                "--show-depends", token});
        ASSERT_TRUE(finished);
        ASSERT_EQ(finished->status, 0) << token;
        const Names modules = index().resolve(token);
        ASSERT_EQ(modules.size(), 1U) << token;
        Names ours;
        for (const core::Step& step : core::load_order(index(), modules.front())) {
            const core::ModuleRecord& loaded = record(step.module);
            const std::string options = loaded.options.empty() ? "" : " " + loaded.options;
            ours.push_back(loaded.install_command ? "install /bin/true" : "insmod " + loaded.path + options);
        }
        EXPECT_EQ(ours, distinct_lines(finished->output)) << token;
    }
}

} // namespace
} // namespace kmodguard::modules
