// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows that the index tells all aliases that modprobe would find a module by, and what a policy of alias
// patterns admits by them; that this leaves nothing behind, and that nothing is admitted where it fails.
#include "core/admission.hpp"
#include "module_tree.hpp"
#include "modules/elf_builder.hpp"
#include "modules/kmod_index.hpp"
#include "policy_builder.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <stdexcept>
#include <utility>

namespace kmodguard::modules {
namespace {

using test::ModuleTree;
using Alias = std::pair<std::string, std::string>;
using Aliases = std::set<Alias>;

class KmodIndexAliasTest : public ::testing::Test {
  protected:
    KmodIndexAliasTest() { add_usual_modules(tree); }

    [[nodiscard]] std::unique_ptr<KmodIndex> open() const {
        auto opened = KmodIndex::open(tree.paths(), ModuleTree::release);
        if (!opened) throw std::runtime_error(opened.error().what);
        return std::move(*opened);
    }
    /// Without the modules' own names.
    static Aliases aliases_of(KmodIndex& index) {
        Aliases found;
        index.for_each_alias([&found](std::string_view alias, std::string_view module) {
            if (alias != module) found.emplace(alias, module);
        });
        return found;
    }
    static std::set<std::string> admitted(const test::PolicyBuilder& policy, KmodIndex& index) {
        std::set<std::string> names;
        const core::Admissions admissions(policy.build(), index);
        for (const auto& [name, admission] : admissions.all())
            names.insert(name);
        return names;
    }
    [[nodiscard]] std::filesystem::path index_file() const {
        return tree / ("lib/modules/" + ModuleTree::release + "/modules.alias.bin");
    }
    Aliases add_long_aliases() {
        test::FakeImage image{.name = "kmt_many"};
        Aliases added;
        for (int number = 0; number < 2000; ++number) {
            const std::string alias = "kmt_many_" + std::string(200, 'x') + std::to_string(number);
            image.aliases.push_back(alias);
            added.emplace(alias, "kmt_many");
        }
        tree.add(image).depmod();
        return added;
    }
    ModuleTree tree;
};

/// As depmod folds them; those of symbols are not among them, for nobody asks for modules by symbols.
TEST_F(KmodIndexAliasTest, AllAliasesAreVisited) {
    EXPECT_EQ(aliases_of(*open()), (Aliases{{"kmt_alias_*", "kmt_needs"},
                                            {"kmt_twin_*", "kmt_twin_a"},
                                            {"kmt_twin_1", "kmt_twin_b"},
                                            {"kmt_only_b", "kmt_twin_b"},
                                            {"kmt_hidden_1", "kmt_hidden"},
                                            {"kmt_configured", "kmt_deep"}}));
}

TEST_F(KmodIndexAliasTest, APatternThatMatchesANameAdmitsTheModule) {
    const auto index = open();
    EXPECT_EQ(admitted(test::PolicyBuilder().allow_alias("kmt-twin-[ab]"), *index),
              (std::set<std::string>{"kmt_twin_a", "kmt_twin_b"}));
    EXPECT_EQ(admitted(test::PolicyBuilder().allow_alias("kmt_bas?"), *index),
              std::set<std::string>{"kmt_base"});
}

/// It was admitted as a token, and the kernel point refused what the command then loads.
TEST_F(KmodIndexAliasTest, APatternThatMatchesAnInstallLinesNameAdmitsWhatTheCommandLoads) {
    tree.write("etc/modprobe.d/more.conf", "install kmt-thing modprobe --all kmt-twin-2 kmt_after\n");
    EXPECT_EQ(admitted(test::PolicyBuilder().allow_alias("kmt-th*"), *open()),
              (std::set<std::string>{"kmt_thing", "kmt_twin_a", "kmt_after"}));
    EXPECT_EQ(admitted(test::PolicyBuilder().allow("kmt_thing").deny("kmt_after"), *open()),
              std::set<std::string>{"kmt_thing"});
}

TEST_F(KmodIndexAliasTest, ModuleIsNamedCanonically) {
    tree.add({.name = "kmt-dashed", .aliases = {"kmt-spaced one*", "kmt-[a-c]-x"}}).depmod();
    tree.write("etc/modprobe.d/more.conf", "alias kmt-also kmt-dashed\n");
    const Aliases aliases = aliases_of(*open());
    EXPECT_TRUE(aliases.contains({"kmt_spaced one*", "kmt_dashed"}));
    EXPECT_TRUE(aliases.contains({"kmt_[a-c]_x", "kmt_dashed"}));
    EXPECT_TRUE(aliases.contains({"kmt_also", "kmt_dashed"}));
}

/// Aliases that share long beginnings take far more room than in the index.
TEST_F(KmodIndexAliasTest, NoneIsLostThoughThereAreMoreThanExpected) {
    const Aliases expected = add_long_aliases();
    const Aliases found = aliases_of(*open());
    EXPECT_TRUE(std::ranges::includes(found, expected));
    EXPECT_EQ(found.size(), expected.size() + 6);
}

TEST_F(KmodIndexAliasTest, WithoutAnIndexOnlyTheConfigurationIsVisited) {
    const auto index = open();
    const Aliases configured{{"kmt_configured", "kmt_deep"}};
    tree.write(std::filesystem::relative(index_file(), tree / "").native(), "no index");
    EXPECT_EQ(aliases_of(*index), configured);
    std::filesystem::remove(index_file());
    EXPECT_EQ(aliases_of(*index), configured);
    EXPECT_EQ(admitted(test::PolicyBuilder().allow("kmt_after").allow_alias("kmt-twin-1"), *index),
              std::set<std::string>{"kmt_after"});
}

TEST_F(KmodIndexAliasTest, WithoutAnIndexItIsSaidWhy) {
    std::filesystem::remove(index_file());
    const auto failed = for_each_indexed_alias(index_file().parent_path(), [](auto, auto) { FAIL(); });
    ASSERT_FALSE(failed);
    EXPECT_EQ(failed.error().kind, sys::ErrorKind::not_found);
    EXPECT_NE(failed.error().what.find("modules.alias.bin"), std::string::npos) << failed.error().what;
}

/// Then its aliases are those of its file, which has to be asked.
TEST_F(KmodIndexAliasTest, IsNotTrustedOfAFileThatChangedAfterwards) {
    const auto index = open();
    ASSERT_TRUE(index->has_indexed_aliases("kmt_twin_a"));
    EXPECT_FALSE(index->has_indexed_aliases("kmt_no_such_module"));
    const std::filesystem::path file = index->find("kmt_twin_a")->path;
    std::filesystem::permissions(file, std::filesystem::perms::owner_read);
    EXPECT_FALSE(index->has_indexed_aliases("kmt_twin_a"));
    EXPECT_TRUE(index->has_indexed_aliases("kmt_twin_b"));
    std::filesystem::remove(index_file());
    EXPECT_FALSE(index->has_indexed_aliases("kmt_twin_b"));
}

/// depmod's files may be of another build, and the image is what the kernel gets.
TEST_F(KmodIndexAliasTest, IsNotTrustedOfAFileThatWasRead) {
    const auto index = open();
    ASSERT_TRUE(index->has_indexed_aliases("kmt_twin_a"));
    ASSERT_NE(index->aliases("kmt_twin_a"), nullptr);
    EXPECT_FALSE(index->has_indexed_aliases("kmt_twin_a"));
    EXPECT_TRUE(index->has_indexed_aliases("kmt_twin_b"));
}

TEST_F(KmodIndexAliasTest, PatternsAdmitWhatTheIndexSaysAndWhatThatBrings) {
    const auto index = open();
    using Names = std::set<std::string>;
    EXPECT_EQ(admitted(test::PolicyBuilder().allow_alias("kmt-twin-1"), *index), Names{"kmt_twin_b"});
    EXPECT_EQ(admitted(test::PolicyBuilder().allow_alias("kmt-twin-?"), *index),
              (Names{"kmt_twin_a", "kmt_twin_b"}));
    EXPECT_EQ(admitted(test::PolicyBuilder().allow_alias("kmt_alias_*"), *index),
              (Names{"kmt_needs", "kmt_base"}));
    EXPECT_EQ(admitted(test::PolicyBuilder().allow_alias("kmt-configured"), *index),
              (Names{"kmt_deep", "kmt_needs", "kmt_base"}));
    EXPECT_EQ(admitted(test::PolicyBuilder().allow_alias("kmt-configured").deny("kmt_base"), *index),
              Names{"kmt_deep"});
    EXPECT_EQ(admitted(test::PolicyBuilder().allow_alias("symbol:*"), *index), Names{});
}

/// What depmod has not seen, nobody finds by its alias.
TEST_F(KmodIndexAliasTest, ImageOfAnAliasThatDepmodDoesNotKnowIsNotAdmitted) {
    tree.add({.name = "kmt_base", .aliases = {"kmt-brand-new"}});
    const auto index = open();
    EXPECT_EQ(admitted(test::PolicyBuilder().allow_alias("kmt-brand-*"), *index), std::set<std::string>{});
    tree.depmod();
    EXPECT_EQ(admitted(test::PolicyBuilder().allow_alias("kmt-brand-*"), *open()),
              std::set<std::string>{"kmt_base"});
}

} // namespace
} // namespace kmodguard::modules
