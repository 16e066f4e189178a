// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows that audit mode changes nothing on the machine: it loads what would load without a guard, in that
// order, and no more; and that it tells all the same what enforce mode would have refused.
#include "core/decision.hpp"
#include "fake_index.hpp"
#include "policy_builder.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace kmodguard::core {
namespace {

using test::content;
using test::decide_one_image;
using test::FakeIndex;
using test::PolicyBuilder;

class DecisionAudit : public ::testing::Test {
  protected:
    DecisionAudit() {
        index.module("m").needs("hard").soft_before("soft").alias("asked-for");
        index.module("hard").alias("hard-alias");
        index.module("soft").alias("soft-alias");
    }
    Decision ask(PolicyBuilder policy, const std::string& token = "asked-for") {
        return decide(policy.audit().build(), index, token);
    }
    /// Expects that the one module loads with all it brings, though the rules refuse it for `reason`.
    void expect_let_pass(const Decision& decision, Reason reason) {
        ASSERT_EQ(decision.modules.size(), 1U);
        EXPECT_EQ(to_string(decision.modules[0].reason), to_string(reason));
        EXPECT_EQ(decision.judged, Verdict::refuse);
        EXPECT_EQ(decision.effective(), Verdict::allow);
        EXPECT_TRUE(decision.audited());
        EXPECT_TRUE(decision.loads(decision.modules[0]));
        EXPECT_EQ(decision.modules[0].chain, load_order(index, "m"));
    }
    /// Expects that it does not load, as it would not without a guard.
    void expect_loads_nothing(const Decision& decision) {
        ASSERT_EQ(decision.modules.size(), 1U);
        EXPECT_FALSE(decision.loads(decision.modules[0])) << explain(decision);
        EXPECT_FALSE(decision.audited()) << explain(decision);
        EXPECT_TRUE(decision.modules[0].chain.empty());
    }
    FakeIndex index;
};

TEST_F(DecisionAudit, LetsAListedModulePassWithoutRemark) {
    const Decision decision = ask(PolicyBuilder().allow("m"));
    EXPECT_EQ(decision.judged, Verdict::allow);
    EXPECT_FALSE(decision.audited());
    EXPECT_EQ(decision.mode, Mode::audit);
    EXPECT_EQ(decision.modules.at(0).chain, load_order(index, "m"));
}

TEST_F(DecisionAudit, LetsPassWhatIsNotListed) {
    expect_let_pass(ask(PolicyBuilder()), Reason::not_listed);
}

TEST_F(DecisionAudit, LetsPassWhatIsDenied) {
    expect_let_pass(ask(PolicyBuilder().deny("m")), Reason::denied_module);
    expect_let_pass(ask(PolicyBuilder().allow("m").deny_alias("asked-*")), Reason::denied_token);
    expect_let_pass(ask(PolicyBuilder().allow("m").deny_alias("asked-for"), "m"), Reason::denied_alias);
}

TEST_F(DecisionAudit, LetsPassWhatBringsADeniedDependency) {
    expect_let_pass(ask(PolicyBuilder().allow("m").deny("hard")), Reason::denied_dependency);
    expect_let_pass(ask(PolicyBuilder().allow("m").deny("soft")), Reason::denied_dependency);
}

TEST_F(DecisionAudit, LetsPassWhatNeedsAnUnlistedDependency) {
    expect_let_pass(ask(PolicyBuilder().allow("m", "soft").without_dependencies()),
                    Reason::unlisted_dependency);
}

TEST_F(DecisionAudit, LetsPassWhatNeedsOneThoughASoftOneWouldHaveStayedBehindFirst) {
    expect_let_pass(ask(PolicyBuilder().allow("m").pin("hard", content(9)).without_dependencies()),
                    Reason::unlisted_dependency);
    index.module("m").needs("second");
    index.module("hard").soft_before("soft"); // so it comes before any hard one
    index.module("second").unreadable();
    expect_let_pass(ask(PolicyBuilder().allow("m", "hard", "second").without_dependencies()),
                    Reason::unreadable_image);
}

TEST_F(DecisionAudit, LetsPassImagesThatCannotBeJudged) {
    index.module("m").unreadable();
    expect_let_pass(ask(PolicyBuilder().allow("m")), Reason::unreadable_image);
    index.module("m").calls_itself("evil", "m");
    expect_let_pass(ask(PolicyBuilder().allow("m")), Reason::contradictory_image);
}

TEST_F(DecisionAudit, LetsPassOtherContentThanPinned) {
    expect_let_pass(ask(PolicyBuilder().allow("m").pin("m", content(9))), Reason::pin_mismatch);
}

TEST_F(DecisionAudit, StillLoadsTheSoftDependencyThatEnforceWouldLeaveOut) {
    const Decision decision = ask(PolicyBuilder().allow("m", "hard").without_dependencies());
    EXPECT_EQ(decision.judged, Verdict::allow);
    EXPECT_EQ(decision.modules.at(0).chain, load_order(index, "m"));
    EXPECT_EQ(decision.modules.at(0).omitted, std::vector<std::string>{"soft"}); // as enforce would have it
}

TEST_F(DecisionAudit, LoadsAllModulesOfATokenNotOnlyTheAllowed) {
    index.module("n").alias("asked-for");
    const Decision decision = ask(PolicyBuilder().allow("n"));
    ASSERT_EQ(decision.modules.size(), 2U);
    EXPECT_TRUE(decision.loads(decision.modules[0]));
    EXPECT_TRUE(decision.loads(decision.modules[1]));
    EXPECT_EQ(decision.judged, Verdict::allow);
    EXPECT_EQ(decision.reason, Reason::listed);
}

TEST_F(DecisionAudit, DoesNotLoadWhatModprobeWouldNotForABlacklist) {
    index.module("m").blacklisted();
    expect_loads_nothing(ask(PolicyBuilder().allow("m")));
    EXPECT_TRUE(ask(PolicyBuilder(), "m").audited()); // by its name, modprobe would
}

TEST_F(DecisionAudit, DoesNotLoadWhatIsBlacklistedThoughItIsDeniedToo) {
    index.module("m").blacklisted();
    expect_loads_nothing(ask(PolicyBuilder().deny("m")));
    expect_loads_nothing(ask(PolicyBuilder().deny_alias("asked-*")));
}

TEST_F(DecisionAudit, LoadsNothingForABuiltInModuleThoughItIsDenied) {
    index.module("m").built_in();
    expect_loads_nothing(ask(PolicyBuilder().allow("m")));
    expect_loads_nothing(ask(PolicyBuilder().deny("m")));
}

TEST_F(DecisionAudit, CannotLoadWhatDoesNotExist) {
    index.resolves("stale-alias", {"ghost"});
    expect_loads_nothing(ask(PolicyBuilder().deny("ghost"), "stale-alias"));
    const Decision decision = ask(PolicyBuilder(), "nobody-knows");
    EXPECT_EQ(decision.effective(), Verdict::refuse);
    EXPECT_EQ(decision.reason, Reason::no_such_module);
}

TEST_F(DecisionAudit, TakesNoOptionForAName) {
    EXPECT_EQ(ask(PolicyBuilder().allow_alias("*"), "-r").effective(), Verdict::refuse);
}

TEST_F(DecisionAudit, LetsImagesPassAndSaysWhy) {
    const std::vector<std::pair<ImageFacts, Reason>> table = {
        {{.problem = "not an ELF file", .name = "", .modinfo_name = "", .sha256 = {}},
         Reason::unreadable_image},
        {{.problem = "", .name = "m", .modinfo_name = "evil", .sha256 = {}}, Reason::contradictory_image},
        {{.problem = "", .name = "hard", .modinfo_name = "hard", .sha256 = content(1)}, Reason::pin_mismatch},
        {{.problem = "", .name = "other", .modinfo_name = "other", .sha256 = {}}, Reason::not_listed},
        {{.problem = "", .name = "soft", .modinfo_name = "soft", .sha256 = {}}, Reason::denied_module},
    };
    const Policy policy = PolicyBuilder().deny("soft").pin("hard", content(9)).audit().build();
    for (const auto& [facts, reason] : table) {
        const Decision decision = decide_one_image(policy, index, facts);
        EXPECT_EQ(to_string(decision.reason), to_string(reason));
        EXPECT_TRUE(decision.audited());
        EXPECT_EQ(decision.effective(), Verdict::allow);
    }
}

} // namespace
} // namespace kmodguard::core
