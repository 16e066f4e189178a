// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows what becomes of a listed module for the sake of what it would bring along: a hard dependency that may
// not load refuses it, a soft one stays behind, and a denied one refuses it in either case.
#include "core/decision.hpp"
#include "fake_index.hpp"
#include "policy_builder.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace kmodguard::core {
namespace {

using test::content;
using test::FakeIndex;
using test::PolicyBuilder;
using Names = std::vector<std::string>;

/// "m" needs "hard" and wants "soft".
class DecisionDependencies : public ::testing::Test {
  protected:
    DecisionDependencies() {
        index.module("m").needs("hard").soft_before("soft").alias("asked-for");
        index.module("hard").alias("hard-alias");
        index.module("soft").alias("soft-alias");
    }
    ModuleDecision ask(const PolicyBuilder& policy, const std::string& token = "asked-for") {
        const Decision decision = decide(policy.build(), index, token);
        EXPECT_EQ(decision.modules.size(), 1U);
        EXPECT_EQ(decision.judged, decision.modules.at(0).verdict());
        return decision.modules.at(0);
    }
    void expect_refused(const ModuleDecision& module, Reason reason, const std::string& because_of) {
        EXPECT_EQ(to_string(module.reason), to_string(reason));
        EXPECT_EQ(module.because_of, because_of);
    }
    void expect_loads(const ModuleDecision& module, const Names& chain, const Names& omitted) {
        EXPECT_EQ(to_string(module.verdict()), "allow") << explain(module);
        Names steps;
        for (const Step& step : module.chain)
            steps.push_back(step.module);
        EXPECT_EQ(steps, chain);
        EXPECT_EQ(module.omitted, omitted);
        EXPECT_EQ(module.because_of, "");
        EXPECT_EQ(module.detail, "");
    }
    FakeIndex index;
};

TEST_F(DecisionDependencies, ComeWithAListedModule) {
    const ModuleDecision module = ask(PolicyBuilder().allow("m"));
    expect_loads(module, {"hard", "soft", "m"}, {});
    EXPECT_EQ(module.chain[0], (Step{"hard", true}));
    EXPECT_EQ(module.chain[1], (Step{"soft", false}));
}

TEST_F(DecisionDependencies, ComeWithAModuleAllowedByAlias) {
    expect_loads(ask(PolicyBuilder().allow_alias("asked-*")), {"hard", "soft", "m"}, {});
}

TEST_F(DecisionDependencies, AreNotAllowedForThemselves) {
    expect_refused(ask(PolicyBuilder().allow("m"), "hard"), Reason::not_listed, "");
}

TEST_F(DecisionDependencies, DeniedHardRefusesTheModule) {
    const ModuleDecision module = ask(PolicyBuilder().allow("m", "hard").deny("hard"));
    expect_refused(module, Reason::denied_dependency, "hard");
    EXPECT_EQ(module.rule.value().line, 3U);
    EXPECT_EQ(module.rule.value().kind, RuleKind::deny_module);
}

TEST_F(DecisionDependencies, DeniedSoftRefusesTheModule) {
    const ModuleDecision module = ask(PolicyBuilder().allow("m", "soft").deny("soft"));
    expect_refused(module, Reason::denied_dependency, "soft");
    EXPECT_EQ(module.rule.value().line, 3U);
}

TEST_F(DecisionDependencies, DeniedByTheirOwnAliasRefuseTheModule) {
    ModuleDecision module = ask(PolicyBuilder().allow("m").deny_alias("hard-*"));
    expect_refused(module, Reason::denied_dependency, "hard");
    EXPECT_EQ(module.rule.value().kind, RuleKind::deny_alias);
    module = ask(PolicyBuilder().allow("m").deny_alias("soft-alias"));
    expect_refused(module, Reason::denied_dependency, "soft");
}

TEST_F(DecisionDependencies, DeniedFarAwayRefuseTheModule) {
    index.module("soft").soft_after("far");
    index.module("far").needs("farther");
    index.module("farther");
    expect_refused(ask(PolicyBuilder().allow("m").deny("farther")), Reason::denied_dependency, "farther");
}

TEST_F(DecisionDependencies, DeniedSoftThatWouldBeLeftOutAnywayRefusesTheModule) {
    index.module("soft").unreadable();
    expect_refused(ask(PolicyBuilder().allow("m").deny("soft")), Reason::denied_dependency, "soft");
    expect_refused(ask(PolicyBuilder().allow("m", "hard").deny("soft").without_dependencies()),
                   Reason::denied_dependency, "soft");
}

TEST_F(DecisionDependencies, DeniedButBuiltInAreNotLoadedSoTheyRefuseNothing) {
    index.module("hard").built_in();
    expect_loads(ask(PolicyBuilder().allow("m").deny("hard")), {"soft", "m"}, {});
}

TEST_F(DecisionDependencies, UnlistedHardRefusesTheModuleWhereTheyMustBeListed) {
    const ModuleDecision module = ask(PolicyBuilder().allow("m", "soft").without_dependencies());
    expect_refused(module, Reason::unlisted_dependency, "hard");
    EXPECT_EQ(module.rule, std::nullopt);
}

TEST_F(DecisionDependencies, UnlistedSoftStaysBehindWhereTheyMustBeListed) {
    expect_loads(ask(PolicyBuilder().allow("m", "hard").without_dependencies()), {"hard", "m"}, {"soft"});
}

TEST_F(DecisionDependencies, ListedAllComeWhereTheyMustBeListed) {
    expect_loads(ask(PolicyBuilder().allow("m", "hard", "soft").without_dependencies()),
                 {"hard", "soft", "m"}, {});
}

TEST_F(DecisionDependencies, BuiltInNeedNotBeListed) {
    index.module("hard").built_in();
    index.module("soft").built_in();
    expect_loads(ask(PolicyBuilder().allow("m").without_dependencies()), {"m"}, {});
}

TEST_F(DecisionDependencies, TheModuleAskedForByAnAllowedAliasNeedNotBeListedItself) {
    expect_loads(ask(PolicyBuilder().allow_alias("asked-for").allow("hard", "soft").without_dependencies()),
                 {"hard", "soft", "m"}, {});
}

TEST_F(DecisionDependencies, MissingHardRefusesTheModule) {
    index.module("m").needs("lost");
    expect_refused(ask(PolicyBuilder().allow("m")), Reason::missing_dependency, "lost");
}

TEST_F(DecisionDependencies, MissingSoftStaysBehind) {
    index.module("m").soft_before("lost");
    expect_loads(ask(PolicyBuilder().allow("m")), {"hard", "soft", "m"}, {"lost"});
}

TEST_F(DecisionDependencies, UnreadableHardRefusesTheModule) {
    index.module("hard").unreadable("cannot open hard.ko");
    const ModuleDecision module = ask(PolicyBuilder().allow("m"));
    expect_refused(module, Reason::unreadable_image, "hard");
    EXPECT_EQ(module.detail, "cannot open hard.ko");
    EXPECT_EQ(module.rule, std::nullopt);
    EXPECT_TRUE(module.omitted.empty());
}

TEST_F(DecisionDependencies, UnreadableSoftStaysBehind) {
    index.module("soft").unreadable();
    expect_loads(ask(PolicyBuilder().allow("m")), {"hard", "m"}, {"soft"});
}

TEST_F(DecisionDependencies, UnderAnotherNameAreAnImageThatContradicts) {
    index.module("hard").calls_itself("evil", "evil");
    expect_refused(ask(PolicyBuilder().allow("m", "evil")), Reason::contradictory_image, "hard");
}

TEST_F(DecisionDependencies, PinnedToOtherContentRefuseTheModuleWhenHard) {
    const ModuleDecision module = ask(PolicyBuilder().allow("m").pin("hard", content(9)));
    expect_refused(module, Reason::pin_mismatch, "hard");
    EXPECT_EQ(module.rule.value().line, 2U);
    EXPECT_EQ(module.rule.value().text, "hard");
}

TEST_F(DecisionDependencies, PinnedToOtherContentStayBehindWhenSoft) {
    expect_loads(ask(PolicyBuilder().allow("m").pin("soft", content(9))), {"hard", "m"}, {"soft"});
}

TEST_F(DecisionDependencies, ThatNeedSomethingUnfitStayBehindWithIt) {
    index.module("soft").needs("below");
    index.module("below").unreadable();
    expect_loads(ask(PolicyBuilder().allow("m")), {"hard", "m"}, {"below", "soft"});
}

TEST_F(DecisionDependencies, ThatStayBehindTakeAlongWhatOnlyTheyBring) {
    index.module("soft").unreadable().needs("below").soft_after("beside");
    index.module("below");
    index.module("beside");
    expect_loads(ask(PolicyBuilder().allow("m")), {"hard", "m"}, {"soft"});
}

TEST_F(DecisionDependencies, ThatStayBehindLeaveTheOthers) {
    index.module("m").soft_before("second").soft_after("third");
    index.module("second").unreadable();
    index.module("third").needs("hard");
    expect_loads(ask(PolicyBuilder().allow("m")), {"hard", "soft", "m", "third"}, {"second"});
}

TEST_F(DecisionDependencies, SoftButAlsoHardRefuseTheModule) {
    index.module("m").soft_before("hard");
    index.module("hard").unreadable();
    expect_refused(ask(PolicyBuilder().allow("m")), Reason::unreadable_image, "hard");
}

TEST_F(DecisionDependencies, SoftOfAModuleWithAnInstallCommandCannotStayBehind) {
    index.module("m").install_command();
    expect_refused(ask(PolicyBuilder().allow("m", "hard").without_dependencies()),
                   Reason::unlisted_dependency, "soft");
    index.module("soft").unreadable();
    expect_refused(ask(PolicyBuilder().allow("m")), Reason::unreadable_image, "soft");
}

TEST_F(DecisionDependencies, SoftAllFitLoadWithAModuleThatHasAnInstallCommand) {
    index.module("m").install_command();
    expect_loads(ask(PolicyBuilder().allow("m")), {"hard", "soft", "m"}, {});
}

TEST_F(DecisionDependencies, TheModulesOwnImageIsJudgedToo) {
    index.module("m").unreadable("is a directory");
    const ModuleDecision module = ask(PolicyBuilder().allow("m"));
    expect_refused(module, Reason::unreadable_image, "");
    EXPECT_EQ(module.detail, "is a directory");
}

TEST_F(DecisionDependencies, InACircleAreJudgedOnce) {
    index.module("soft").soft_before("m").soft_after("soft");
    expect_loads(ask(PolicyBuilder().allow("m")), {"hard", "soft", "m"}, {});
    EXPECT_EQ(index.read, (Names{"hard", "soft", "m"}));
}

TEST_F(DecisionDependencies, OfABuiltInModuleThatAreUnfitDoNotHangTheDecision) {
    index.module("soft").built_in().needs("below");
    index.module("below").unreadable();
    expect_refused(ask(PolicyBuilder().allow("m")), Reason::unreadable_image, "below");
}

TEST_F(DecisionDependencies, InAnIndexThatLeavesOutIndirectOnesDoNotHangTheDecision) {
    index.module("m").soft_after("hard");
    index.module("hard").needs("below"); // which m's own list does not name
    index.module("below").unreadable();
    expect_refused(ask(PolicyBuilder().allow("m")), Reason::unreadable_image, "below");
}

} // namespace
} // namespace kmodguard::core
