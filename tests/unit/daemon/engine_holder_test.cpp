// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows that the daemon and what else enforces the policy always have the same: each change goes there
// first, and a change that is not taken there is none.
#include "daemon/engine_fixture.hpp"

#include <algorithm>
#include <cstdint>

namespace kmodguard::daemon {
namespace {

class Holder final : public kernel::Enforcer {
  public:
    kernel::Published publish(const kernel::Publication& publication) override {
        if (refuses) return {failure, {sys::ErrorKind::denied, "sealed"}};
        held = publication.policy;
        generations.push_back(publication.generation);
        return {};
    }
    std::string why_not_enforced(const core::Policy&) const override { return lacks; }
    std::optional<std::string> refused_of(const core::ModuleDecision&) const override { return keeps_out; }
    bool refuses = false;
    kernel::Published::Outcome failure = kernel::Published::Outcome::failed;
    std::string lacks;
    std::optional<std::string> keeps_out;
    core::Policy held;
    std::vector<std::uint64_t> generations;
};

class EngineHolderTest : public EngineFixture {
  protected:
    void publish() { ASSERT_TRUE(engine().publish_to(holder)); }
    Holder holder;
};

TEST_F(EngineHolderTest, GetsThePolicyInForceAtOnceAndEveryChangeAfter) {
    publish();
    EXPECT_TRUE(holder.held.allows_module("kmt_base"));
    ASSERT_TRUE(engine().allow("kmt_deep"));
    EXPECT_TRUE(holder.held.allows_module("kmt_deep"));
    ASSERT_TRUE(engine().set_mode(core::Mode::audit));
    EXPECT_EQ(holder.held.mode(), core::Mode::audit);
    ASSERT_TRUE(engine().reload(true));
    EXPECT_FALSE(holder.held.allows_module("kmt_deep"));
    EXPECT_EQ(holder.generations.back(), engine().generation());
    EXPECT_TRUE(std::ranges::is_sorted(holder.generations));
}

TEST_F(EngineHolderTest, AChangeThatIsNotTakenChangesNothing) {
    publish();
    const auto generation = engine().generation();
    holder.refuses = true;
    EXPECT_EQ(engine().allow("kmt_deep").error().what, "sealed");
    EXPECT_FALSE(engine().deny("kmt_base"));
    EXPECT_FALSE(engine().remove("kmt_base"));
    EXPECT_FALSE(engine().set_mode(core::Mode::audit));
    tree.write(policy, "version = 1\n");
    EXPECT_FALSE(engine().reload());
    EXPECT_EQ(engine().status().policy_error, "sealed");
    EXPECT_EQ(engine().generation(), generation);
    EXPECT_EQ(verdict("kmt_deep"), "refuse");
    EXPECT_EQ(verdict("kmt_base"), "allow");
    EXPECT_EQ(engine().policy().mode(), core::Mode::enforce);
    EXPECT_EQ(engine().status().unsaved_changes, 0U);
}

/// It was kept although it never was in force, and the next start with a broken file would have taken it.
TEST_F(EngineHolderTest, APolicyThatIsNotTakenIsNotKeptForTheNextStart) {
    publish();
    holder.refuses = true;
    tree.write(policy, "version = 1\nallow.modules = ['kmt_deep']\n");
    ASSERT_FALSE(engine().reload());
    tree.write(policy, "broken");
    restart();
    EXPECT_EQ(verdict("kmt_base"), "allow");
    EXPECT_EQ(verdict("kmt_deep"), "refuse");
}

/// The machine stayed in audit mode for ever, and nothing said so.
TEST_F(EngineHolderTest, AuditModeThatCannotEndInItsTimeEndsAsSoonAsItCan) {
    publish();
    ASSERT_TRUE(engine().set_mode(core::Mode::audit, Engine::Clock::now()));
    holder.refuses = true;
    EXPECT_FALSE(engine().end_limited_mode());
    EXPECT_FALSE(engine().limited_until()) << "its time is over, and no timer is to run for it";
    EXPECT_EQ(engine().policy().mode(), core::Mode::audit) << "both hold the same";
    EXPECT_TRUE(engine().policy().source().audit_ends) << "the holder ends it by itself";
    ASSERT_TRUE(engine().status().wanted_mode);
    EXPECT_EQ(engine().status().wanted_mode, core::Mode::enforce);
    EXPECT_EQ(engine().status().wanted_problem, "sealed");
    engine().retry();
    EXPECT_TRUE(engine().status().wanted_mode);
    holder.refuses = false;
    engine().retry();
    EXPECT_FALSE(engine().status().wanted_mode);
    EXPECT_EQ(engine().policy().mode(), core::Mode::enforce);
    EXPECT_EQ(holder.held.mode(), core::Mode::enforce);
    EXPECT_EQ(holder.generations.back(), engine().generation());
}

TEST_F(EngineHolderTest, EnforceModeThatCannotEndInItsTimeStaysAndIsNotAskedAgain) {
    ASSERT_TRUE(engine().set_mode(core::Mode::audit));
    publish();
    ASSERT_TRUE(engine().set_mode(core::Mode::enforce, Engine::Clock::now()));
    holder.refuses = true;
    EXPECT_FALSE(engine().end_limited_mode());
    EXPECT_FALSE(engine().limited_until());
    EXPECT_FALSE(engine().status().wanted_mode);
    EXPECT_EQ(engine().policy().mode(), core::Mode::enforce);
}

TEST_F(EngineHolderTest, AStepTowardsStricterIsKeptAndSaysSo) {
    publish();
    holder.refuses = true;
    const auto denied = engine().deny("kmt_base");
    ASSERT_FALSE(denied);
    EXPECT_EQ(denied.error().what, "not in force yet: sealed");
    EXPECT_NE(denied.error().hint.find("tried again"), std::string::npos) << denied.error().hint;
    EXPECT_EQ(verdict("kmt_base"), "allow");
    EXPECT_FALSE(engine().remove("kmt_after")) << "which adds up with what is wanted already";
    holder.refuses = false;
    engine().retry();
    EXPECT_EQ(reason("kmt_base"), "denied-module");
    EXPECT_EQ(reason("kmt_after"), "not-listed");
    EXPECT_TRUE(holder.held.denies_module("kmt_base"));
    EXPECT_EQ(engine().status().unsaved_changes, 2U);
}

TEST_F(EngineHolderTest, AStepTowardsLooserIsNotMadeLater) {
    publish();
    holder.refuses = true;
    EXPECT_EQ(engine().allow("kmt_deep").error().what, "sealed");
    EXPECT_EQ(engine().set_mode(core::Mode::audit).error().what, "sealed");
    EXPECT_FALSE(engine().status().wanted_mode);
    holder.refuses = false;
    engine().retry();
    EXPECT_EQ(verdict("kmt_deep"), "refuse");
}

TEST_F(EngineHolderTest, AStricterFileIsKeptAndALooserOneIsNot) {
    publish();
    holder.refuses = true;
    const std::string stricter = "version = 1\n[allow]\nmodules = [\"kmt_base\"]\n"
                                 "[deny]\nmodules = [\"kmt_twin_b\"]\n";
    tree.write(policy, stricter);
    EXPECT_FALSE(engine().reload());
    EXPECT_EQ(engine().status().policy_error, std::nullopt) << "nothing is wrong with the file";
    ASSERT_TRUE(engine().status().wanted_mode);
    holder.refuses = false;
    engine().retry();
    EXPECT_EQ(reason("kmt_after"), "not-listed");
    holder.refuses = true;
    tree.write(policy, usual_policy);
    EXPECT_FALSE(engine().reload());
    EXPECT_EQ(engine().status().policy_error, "sealed");
    EXPECT_FALSE(engine().status().wanted_mode);
}

TEST_F(EngineHolderTest, WhatIsWantedIsWhatTheNextChangeStartsFrom) {
    publish();
    holder.refuses = true;
    EXPECT_FALSE(engine().deny("kmt_base"));
    holder.refuses = false;
    EXPECT_FALSE(engine().allow("kmt_base")) << "deny wins, in force or not";
    ASSERT_TRUE(engine().allow("kmt_deep"));
    EXPECT_FALSE(engine().status().wanted_mode);
    EXPECT_EQ(reason("kmt_base"), "denied-module");
    EXPECT_TRUE(holder.held.allows_module("kmt_deep"));
}

/// What an index admits was held as it was before, and nothing said so.
TEST_F(EngineHolderTest, ANewIndexThatIsNotTakenIsGivenAgain) {
    publish();
    holder.refuses = true;
    tree.write("etc/modprobe.d/new.conf", "alias kmt_other kmt_base\n");
    ASSERT_TRUE(engine().refresh_index());
    ASSERT_TRUE(engine().status().wanted_mode);
    const auto times = holder.generations.size();
    holder.refuses = false;
    engine().retry();
    EXPECT_FALSE(engine().status().wanted_mode);
    EXPECT_EQ(holder.generations.size(), times + 1);
    EXPECT_EQ(holder.generations.back(), engine().generation());
}

TEST_F(EngineHolderTest, TheFirstPublicationIsTriedAgainAsWell) {
    holder.refuses = true;
    EXPECT_FALSE(engine().publish_to(holder));
    EXPECT_TRUE(engine().status().wanted_mode);
    holder.refuses = false;
    engine().retry();
    EXPECT_TRUE(holder.held.allows_module("kmt_base"));
}

/// Status said "tried again every few seconds" of what could not come before the machine restarts.
TEST_F(EngineHolderTest, WhatASealRefusesIsNotTriedAgain) {
    holder.refuses = true;
    holder.failure = kernel::Published::Outcome::sealed;
    EXPECT_EQ(engine().publish_to(holder).error().what, "sealed");
    EXPECT_FALSE(engine().status().wanted_mode);
    EXPECT_EQ(engine().deny("kmt_base").error().what, "sealed") << "nor is a step towards stricter";
    EXPECT_FALSE(engine().status().wanted_mode);
    EXPECT_EQ(verdict("kmt_base"), "allow");
    tree.write("etc/modprobe.d/new.conf", "alias kmt_other kmt_base\n");
    ASSERT_TRUE(engine().refresh_index());
    EXPECT_FALSE(engine().status().wanted_mode);
}

/// `check` said "allowed" of what the sealed kernel point refuses.
TEST_F(EngineHolderTest, WhatAnEarlierPolicyThatIsSealedRefusesIsSaidNotToLoad) {
    publish();
    holder.keeps_out = "kmt_base";
    const std::string said = explain(engine().decide_for_people("kmt_base"));
    EXPECT_TRUE(said.starts_with("allowed, but does not load: kmt_base is on the allow list")) << said;
    EXPECT_NE(said.find("but the machine is sealed with an earlier policy, which does not admit it"),
              std::string::npos)
        << said;
    EXPECT_EQ(explain(engine().decide_for_people("kmt_deep")).find("sealed"), std::string::npos)
        << "which is refused";
}

TEST_F(EngineHolderTest, ANewIndexIsPublishedAsWell) {
    publish();
    const auto times = holder.generations.size();
    tree.write("etc/modprobe.d/new.conf", "alias kmt_other kmt_base\n");
    ASSERT_TRUE(engine().refresh_index());
    EXPECT_GT(holder.generations.size(), times);
    EXPECT_EQ(holder.generations.back(), engine().generation());
}

} // namespace
} // namespace kmodguard::daemon
