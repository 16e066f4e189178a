// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows which of the modules that are in the kernel already are said not to be admitted.
#include "core/admission.hpp"
#include "fake_index.hpp"
#include "policy_builder.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace kmodguard::core {
namespace {

using ::kmodguard::test::content;
using ::kmodguard::test::FakeIndex;
using ::kmodguard::test::PolicyBuilder;
using Names = std::vector<std::string>;

class Loaded : public ::testing::Test {
  protected:
    std::vector<ModuleDecision> judged(const PolicyBuilder& builder, const Names& loaded) {
        const Policy policy = builder.build();
        return not_admitted(policy, index, Admissions(policy, index), loaded);
    }
    Names names(const PolicyBuilder& builder, const Names& loaded) {
        Names found;
        for (const ModuleDecision& module : judged(builder, loaded))
            found.push_back(module.module);
        return found;
    }

    FakeIndex index;
};

TEST_F(Loaded, WhatAnyRuleAdmitsIsAdmittedAndWhatThatBrings) {
    index.module("loop");
    index.module("af_key").alias("net-pf-15");
    index.module("dm_mod");
    index.module("dm_crypt").needs("dm_mod");
    index.module("stray");
    const PolicyBuilder policy = PolicyBuilder().allow("loop", "dm_crypt").allow_alias("net-pf-15");
    EXPECT_EQ(names(policy, {"loop", "af_key", "dm_crypt", "dm_mod"}), Names{});
    EXPECT_EQ(names(policy, {"loop", "stray"}), Names{"stray"});
    EXPECT_EQ(names(PolicyBuilder(policy).without_dependencies(), {"dm_crypt", "dm_mod"}), Names{"dm_mod"});
}

TEST_F(Loaded, ADeniedModuleComesFirstWithItsRule) {
    index.module("alpha");
    index.module("zeta").alias("net-pf-15");
    index.module("omega");
    const auto found = judged(PolicyBuilder().allow("zeta").deny("omega").deny_alias("net-pf-15"),
                              {"alpha", "zeta", "omega"});
    ASSERT_EQ(found.size(), 3U);
    EXPECT_EQ(found[0].module, "omega");
    EXPECT_EQ(found[0].reason, Reason::denied_module);
    EXPECT_EQ(found[1].module, "zeta");
    EXPECT_EQ(found[1].reason, Reason::denied_alias);
    EXPECT_EQ(found[2].reason, Reason::not_listed);
    EXPECT_EQ(explain_loaded(found), "3 loaded modules would not be admitted, and stay until they are "
                                     "unloaded: omega (denied), zeta (denied), alpha");
}

/// To unpack all that is loaded takes seconds.
TEST_F(Loaded, WhatTheIndexHasAllAliasesOfIsNotReadForThem) {
    index.module("indexed").alias("net-pf-16");
    index.module("changed").alias_in_index("net-pf-17").alias_in_image("net-pf-17", "net-pf-15");
    index.module("unknown").aliases_unreadable();
    const auto found = judged(PolicyBuilder().deny_alias("net-pf-15"), {"indexed", "changed", "unknown"});
    ASSERT_EQ(found.size(), 3U);
    EXPECT_EQ(found[0].module, "changed");
    EXPECT_EQ(found[0].reason, Reason::denied_alias);
    EXPECT_EQ(found[1].reason, Reason::not_listed);
    EXPECT_EQ(found[2].reason, Reason::unreadable_image);
}

TEST_F(Loaded, TheModeAndPinsMakeNoDifference) {
    index.module("loop");
    index.module("stray");
    EXPECT_EQ(names(PolicyBuilder().allow("loop").audit(), {"loop", "stray"}), Names{"stray"});
    EXPECT_EQ(names(PolicyBuilder().allow("loop").pin("loop", content(7)), {"loop"}), Names{});
    const auto found = judged(PolicyBuilder().pin("stray", content(7)), {"stray"});
    ASSERT_EQ(found.size(), 1U);
    EXPECT_EQ(found[0].reason, Reason::not_listed);
    EXPECT_FALSE(is_denied(found[0]));
}

TEST_F(Loaded, OneThatTheIndexHasNotIsJudgedByItsNameAlone) {
    EXPECT_EQ(names(PolicyBuilder().allow("foreign"), {"foreign", "other"}), Names{"other"});
}

TEST_F(Loaded, OfManyTheFirstAreNamed) {
    Names many;
    for (char c = 'a'; c < 'l'; ++c)
        many.emplace_back(1, c);
    EXPECT_EQ(explain_loaded(judged(PolicyBuilder(), many)),
              "11 loaded modules would not be admitted, and stay until they are unloaded: a, b, c, d, e, f, "
              "g, h, ...");
    EXPECT_EQ(explain_loaded(judged(PolicyBuilder(), {"one"})),
              "a loaded module would not be admitted, and stays until it is unloaded: one");
    EXPECT_EQ(explain_loaded({}), "");
}

} // namespace
} // namespace kmodguard::core
