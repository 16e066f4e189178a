// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows each rule of the decision by itself, on a request by token in enforce mode: what is listed loads,
// what is denied does not, what is neither is refused, and each answer names the line that decided.
#include "core/decision.hpp"
#include "fake_index.hpp"
#include "policy_builder.hpp"

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

namespace kmodguard::core {
namespace {

using test::content;
using test::FakeIndex;
using test::PolicyBuilder;

class DecisionRules : public ::testing::Test {
  protected:
    DecisionRules() {
        index.module("af_key").alias("net-pf-15");
        index.module("cipher_slow").alias("crypto-x");
        index.module("cipher_fast").alias("crypto-x");
    }
    Decision ask(const PolicyBuilder& policy, const std::string& token) {
        return decide(policy.build(), index, token);
    }
    /// Expects a single module, judged so; the whole decision says the same.
    void expect_only(const Decision& decision, Reason reason, std::optional<std::uint32_t> line) {
        ASSERT_EQ(decision.modules.size(), 1U);
        EXPECT_EQ(to_string(decision.modules[0].reason), to_string(reason));
        EXPECT_EQ(to_string(decision.reason), to_string(reason));
        EXPECT_EQ(decision.judged, verdict_of(reason));
        EXPECT_EQ(decision.effective(), verdict_of(reason));
        EXPECT_EQ(decision.rule, decision.modules[0].rule);
        EXPECT_EQ(decision.rule ? std::optional(decision.rule.value().line) : std::nullopt, line);
        EXPECT_FALSE(decision.audited());
    }
    FakeIndex index;
};

TEST_F(DecisionRules, AModuleOnTheAllowListLoads) {
    const Decision decision = ask(PolicyBuilder().allow("loop", "af_key"), "af_key");
    expect_only(decision, Reason::listed, 2);
    EXPECT_TRUE(decision.loads(decision.modules[0]));
    EXPECT_EQ(decision.modules[0].chain, (std::vector<Step>{{"af_key", true}}));
    EXPECT_EQ(decision.token, "af_key");
}

TEST_F(DecisionRules, AModuleOnTheAllowListLoadsByItsAlias) {
    expect_only(ask(PolicyBuilder().allow("af_key"), "net-pf-15"), Reason::listed, 1);
}

TEST_F(DecisionRules, DashesInTheTokenDoNotMatter) {
    expect_only(ask(PolicyBuilder().allow("af_key"), "af-key"), Reason::listed, 1);
    expect_only(ask(PolicyBuilder().allow_alias("net-pf-*"), "net_pf_15"), Reason::alias_listed, 1);
    expect_only(ask(PolicyBuilder().allow("af_key").deny_alias("net_pf_*"), "net-pf-15"),
                Reason::denied_token, 2);
}

TEST_F(DecisionRules, ATokenThatMatchesAnAllowedPatternLoads) {
    const Decision decision = ask(PolicyBuilder().allow_alias("fs-*", "net-pf-*"), "net-pf-15");
    expect_only(decision, Reason::alias_listed, 2);
    EXPECT_TRUE(decision.loads(decision.modules[0]));
}

TEST_F(DecisionRules, AnAllowedPatternCountsForTheTokenAskedNotForOthersOfTheModule) {
    expect_only(ask(PolicyBuilder().allow_alias("net-pf-15"), "af_key"), Reason::not_listed, std::nullopt);
}

TEST_F(DecisionRules, WhatNoRuleAllowsIsRefused) {
    const Decision decision = ask(PolicyBuilder().allow("loop").allow_alias("fs-*"), "net-pf-15");
    expect_only(decision, Reason::not_listed, std::nullopt);
    EXPECT_FALSE(decision.loads(decision.modules[0]));
}

TEST_F(DecisionRules, AnEmptyPolicyAllowsNothing) {
    expect_only(decide(Policy(), index, "af_key"), Reason::not_listed, std::nullopt);
}

TEST_F(DecisionRules, ADeniedModuleIsRefusedThoughListed) {
    const Decision decision = ask(PolicyBuilder().allow("af_key").deny("af_key"), "af_key");
    expect_only(decision, Reason::denied_module, 2);
    EXPECT_FALSE(decision.loads(decision.modules[0]));
}

TEST_F(DecisionRules, ADeniedModuleIsRefusedByItsAliasAndThoughTheAliasIsAllowed) {
    expect_only(ask(PolicyBuilder().allow_alias("*").deny("af_key"), "net-pf-15"), Reason::denied_module, 2);
}

TEST_F(DecisionRules, ADeniedTokenIsRefusedThoughTheModuleIsListed) {
    expect_only(ask(PolicyBuilder().allow("af_key").deny_alias("net-pf-1?"), "net-pf-15"),
                Reason::denied_token, 2);
}

TEST_F(DecisionRules, AModuleWithADeniedAliasIsRefusedByItsNameToo) {
    expect_only(ask(PolicyBuilder().allow("af_key").deny_alias("net-pf-15"), "af_key"), Reason::denied_alias,
                2);
}

TEST_F(DecisionRules, ADeniedTokenIsRefusedForAllItsModules) {
    const Decision decision =
        ask(PolicyBuilder().allow("cipher_slow", "cipher_fast").deny_alias("crypto-*"), "crypto-x");
    ASSERT_EQ(decision.modules.size(), 2U);
    for (const ModuleDecision& module : decision.modules)
        EXPECT_EQ(module.reason, Reason::denied_token);
    EXPECT_EQ(decision.judged, Verdict::refuse);
}

TEST_F(DecisionRules, OfSeveralModulesOnlyTheAllowedOneLoads) {
    const Decision decision = ask(PolicyBuilder().allow("cipher_fast"), "crypto-x");
    ASSERT_EQ(decision.modules.size(), 2U);
    EXPECT_EQ(decision.modules[0].module, "cipher_slow");
    EXPECT_EQ(decision.modules[0].reason, Reason::not_listed);
    EXPECT_FALSE(decision.loads(decision.modules[0]));
    EXPECT_EQ(decision.modules[1].module, "cipher_fast");
    EXPECT_TRUE(decision.loads(decision.modules[1]));
    EXPECT_EQ(decision.judged, Verdict::allow);
    EXPECT_EQ(decision.reason, Reason::listed);
    EXPECT_EQ(decision.rule.value().text, "cipher_fast");
}

TEST_F(DecisionRules, OfSeveralModulesADeniedOneDoesNotHoldUpTheOther) {
    const Decision decision = ask(PolicyBuilder().allow_alias("crypto-*").deny("cipher_slow"), "crypto-x");
    EXPECT_FALSE(decision.loads(decision.modules[0]));
    EXPECT_TRUE(decision.loads(decision.modules[1]));
    EXPECT_EQ(decision.judged, Verdict::allow);
}

TEST_F(DecisionRules, AnAllowedTokenLoadsAllItsModules) {
    const Decision decision = ask(PolicyBuilder().allow_alias("crypto-x"), "crypto-x");
    EXPECT_TRUE(decision.loads(decision.modules[0]));
    EXPECT_TRUE(decision.loads(decision.modules[1]));
}

TEST_F(DecisionRules, ARefusalOfSeveralCitesTheRuleThatDenies) {
    const Decision decision = ask(PolicyBuilder().deny("cipher_fast"), "crypto-x");
    EXPECT_EQ(decision.modules[0].reason, Reason::not_listed);
    EXPECT_EQ(decision.reason, Reason::denied_module);
    EXPECT_EQ(decision.rule.value().text, "cipher_fast");
}

TEST_F(DecisionRules, WhatNothingAnswersToIsRefused) {
    for (const std::string token :
         {"net-pf-77", "$(reboot)", "../../tmp/x", "af_key.ko", "/lib/modules/af_key.ko"}) {
        const Decision decision = ask(PolicyBuilder().allow("af_key").allow_alias("*"), token);
        EXPECT_TRUE(decision.modules.empty()) << token;
        EXPECT_EQ(decision.judged, Verdict::refuse) << token;
        EXPECT_EQ(decision.reason, Reason::no_such_module) << token;
        EXPECT_EQ(decision.token, token);
    }
}

TEST_F(DecisionRules, ADeniedTokenThatMeansNothingStillNamesTheRule) {
    const Decision decision = ask(PolicyBuilder().deny_alias("net-pf-*"), "net-pf-77");
    EXPECT_EQ(decision.reason, Reason::denied_token);
    EXPECT_EQ(decision.rule.value().line, 1U);
    EXPECT_EQ(decision.judged, Verdict::refuse);
}

TEST_F(DecisionRules, WhatIsNoNameIsRefusedWithoutAskingTheIndex) {
    for (const std::string& token : {std::string("-r"), std::string(), std::string("af_key\0", 7),
                                     std::string("af_key\n"), std::string("\xff"), std::string(5000, 'x')}) {
        index.resolves(token, {"af_key"});
        const Decision decision = ask(PolicyBuilder().allow("af_key").allow_alias("*"), token);
        EXPECT_TRUE(decision.modules.empty());
        EXPECT_EQ(decision.judged, Verdict::refuse);
        EXPECT_EQ(decision.reason, Reason::not_a_name);
    }
}

TEST_F(DecisionRules, AModuleThatTheIndexOnlyNamesIsRefused) {
    index.resolves("stale-alias", {"ghost"});
    expect_only(ask(PolicyBuilder().allow("ghost").allow_alias("*"), "stale-alias"), Reason::no_such_module,
                std::nullopt);
}

TEST_F(DecisionRules, ABuiltInModuleIsLetPassAndNothingIsLoaded) {
    index.module("ext4").alias("fs-ext4").built_in();
    const Decision decision = ask(PolicyBuilder(), "fs-ext4");
    expect_only(decision, Reason::built_in, std::nullopt);
    EXPECT_FALSE(decision.loads(decision.modules[0]));
    EXPECT_TRUE(decision.modules[0].chain.empty());
}

/// A script took the verdict for the effect: exit status 3, "refuse".
TEST_F(DecisionRules, ADeniedModuleThatIsBuiltInIsRefusedAndNotBlocked) {
    index.module("ext4").alias("fs-ext4").built_in();
    index.module("ext4_more").alias("fs-ext4");
    for (const PolicyBuilder& policy : {PolicyBuilder().deny("ext4"), PolicyBuilder().deny_alias("fs-ext4"),
                                        PolicyBuilder().deny("ext4").audit()}) {
        const Decision decision = ask(policy, "ext4");
        EXPECT_EQ(decision.effective(), Verdict::refuse);
        EXPECT_FALSE(decision.blocks());
        EXPECT_TRUE(explain(decision).starts_with("refused, but not blocked: ext4 ")) << explain(decision);
        EXPECT_TRUE(explain(decision).ends_with(
            ", but is built into the kernel: it is there already, and no module control applies"))
            << explain(decision);
    }
    const Decision both = ask(PolicyBuilder().deny_alias("fs-ext4"), "fs-ext4");
    EXPECT_TRUE(both.blocks()); // the other one
    EXPECT_TRUE(explain(both).starts_with("refused: "));
    EXPECT_TRUE(ask(PolicyBuilder(), "nothing").blocks());
    EXPECT_FALSE(ask(PolicyBuilder(), "ext4").blocks());
}

TEST_F(DecisionRules, ABlacklistedModuleIsHiddenFromItsAliasesNotFromItsName) {
    index.module("pcspkr").alias("platform:pcspkr").blacklisted();
    const PolicyBuilder policy = PolicyBuilder().allow("pcspkr").allow_alias("platform:*");
    expect_only(ask(policy, "platform:pcspkr"), Reason::blacklisted, std::nullopt);
    expect_only(ask(policy, "pcspkr"), Reason::listed, 1);
}

TEST_F(DecisionRules, ABlacklistedModuleIsFoundByItsNameWithEitherDash) {
    index.module("snd_pcsp").blacklisted();
    expect_only(ask(PolicyBuilder().allow("snd_pcsp"), "snd-pcsp"), Reason::listed, 1);
}

TEST_F(DecisionRules, AnImageThatCannotBeJudgedIsNotLoaded) {
    index.module("af_key").unreadable("truncated at 64 bytes");
    const Decision decision = ask(PolicyBuilder().allow("af_key"), "af_key");
    expect_only(decision, Reason::unreadable_image, std::nullopt);
    EXPECT_EQ(decision.modules[0].detail, "truncated at 64 bytes");
    EXPECT_EQ(decision.modules[0].because_of, "");
}

TEST_F(DecisionRules, AnImageOfAnotherNameIsNotLoaded) {
    index.module("af_key").calls_itself("evil", "evil");
    expect_only(ask(PolicyBuilder().allow("af_key", "evil"), "af_key"), Reason::contradictory_image,
                std::nullopt);
}

TEST_F(DecisionRules, AnImageOfTwoNamesIsNotLoaded) {
    index.module("af_key").calls_itself("af_key", "evil");
    expect_only(ask(PolicyBuilder().allow("af_key", "evil"), "af_key"), Reason::contradictory_image,
                std::nullopt);
}

TEST_F(DecisionRules, AnImageMayWriteItsNameWithDashesOrLeaveOutTheSecond) {
    index.module("af_key").calls_itself("af-key", "af_key");
    expect_only(ask(PolicyBuilder().allow("af_key"), "af_key"), Reason::listed, 1);
    index.module("af_key").calls_itself("af_key", "");
    expect_only(ask(PolicyBuilder().allow("af_key"), "af_key"), Reason::listed, 1);
}

TEST_F(DecisionRules, APinnedModuleLoadsWithOneOfThePinnedContentsOnly) {
    index.module("af_key").with_content(content(7));
    expect_only(ask(PolicyBuilder().allow("af_key").pin("af_key", content(7)), "af_key"), Reason::listed, 1);
    expect_only(
        ask(PolicyBuilder().allow("af_key").pin("af_key", content(8)).pin("af_key", content(7)), "af_key"),
        Reason::listed, 1);
    const Decision decision = ask(PolicyBuilder().allow("af_key").pin("af_key", content(8)), "af_key");
    EXPECT_EQ(decision.reason, Reason::pin_mismatch);
    EXPECT_EQ(decision.modules[0].detail, "sha256 " + to_hex(content(7)));
}

TEST_F(DecisionRules, APinThatRefusesIsCitedWithItsLine) {
    const Decision decision =
        ask(PolicyBuilder().allow("af_key").pin("other", content(7)).pin("af_key", content(8)), "af_key");
    expect_only(decision, Reason::pin_mismatch, 3);
    EXPECT_EQ(decision.rule.value().kind, RuleKind::pin);
    EXPECT_EQ(decision.rule.value().text, "af_key");
}

TEST_F(DecisionRules, APinAllowsNothingByItself) {
    expect_only(ask(PolicyBuilder().pin("af_key", content(1)), "af_key"), Reason::not_listed, std::nullopt);
}

TEST_F(DecisionRules, OnlyPinnedImagesAreHashed) {
    index.module("m").needs("plain", "pinned");
    index.module("plain");
    index.module("pinned");
    expect_only(ask(PolicyBuilder().allow("m").pin("pinned", content(1)), "m"), Reason::listed, 1);
    EXPECT_EQ(index.hashed, std::vector<std::string>{"pinned"});
    EXPECT_EQ(index.read, (std::vector<std::string>{"plain", "m"}));
}

TEST_F(DecisionRules, NoImageOfAModuleThatIsNotAllowedIsOpened) {
    (void)ask(PolicyBuilder().deny("cipher_fast"), "crypto-x");
    EXPECT_TRUE(index.read.empty());
}

TEST_F(DecisionRules, TheSameQuestionHasTheSameAnswer) {
    const PolicyBuilder policy = PolicyBuilder().allow("cipher_fast").deny("cipher_slow");
    EXPECT_EQ(ask(policy, "crypto-x"), ask(policy, "crypto-x"));
}

} // namespace
} // namespace kmodguard::core
