// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows what `kmodctl allow`, `deny`, `remove` and `mode` do to the policy in force, one after the other, and
// that the policy as written is not touched by them.
#include "core/runtime_changes.hpp"
#include "policy_builder.hpp"

#include <gtest/gtest.h>

#include <string>

namespace kmodguard::core {
namespace {

using test::PolicyBuilder;

class RuntimeChangesTest : public ::testing::Test {
  protected:
    /// "allowed", "denied", "both" or "neither", of the policy in force.
    std::string state(const std::string& module) {
        const Policy policy(with(written, changes));
        const bool allowed = policy.allows_module(module).has_value();
        const bool denied = policy.denies_module(module).has_value();
        return allowed && denied ? "both" : allowed ? "allowed" : denied ? "denied" : "neither";
    }
    PolicySource written =
        PolicyBuilder().allow("good", "torn").deny("bad", "torn").allow_alias("fs-*").source();
    RuntimeChanges changes;
};

TEST_F(RuntimeChangesTest, NoneLeaveThePolicyAsWritten) {
    EXPECT_EQ(changes.count(), 0U);
    EXPECT_EQ(state("good"), "allowed");
    EXPECT_EQ(state("bad"), "denied");
    EXPECT_EQ(state("torn"), "both");
    EXPECT_EQ(state("new"), "neither");
    EXPECT_TRUE(Policy(with(written, changes)).allows_token("fs-ext4"));
}

TEST_F(RuntimeChangesTest, AllowAddsAModuleAsUnsaved) {
    changes.allow(written, "new");
    EXPECT_EQ(state("new"), "allowed");
    EXPECT_EQ(Policy(with(written, changes)).allows_module("new"),
              (Rule{RuleKind::allow_module, "new", "", 0}));
    EXPECT_EQ(changes.count(), 1U);
    changes.allow(written, "new");
    EXPECT_EQ(changes.count(), 1U);
}

TEST_F(RuntimeChangesTest, AllowOfWhatIsWrittenChangesNothing) {
    changes.allow(written, "good");
    EXPECT_EQ(changes.count(), 0U);
    EXPECT_EQ(Policy(with(written, changes)).allows_module("good").value().line, 1U);
}

TEST_F(RuntimeChangesTest, AllowDoesNotOverrideADenial) {
    changes.allow(written, "bad");
    EXPECT_EQ(state("bad"), "both"); // deny wins
    changes.deny(written, "new");
    changes.allow(written, "new");
    EXPECT_EQ(state("new"), "both");
}

TEST_F(RuntimeChangesTest, DenyAddsADenialAsUnsaved) {
    changes.deny(written, "good");
    EXPECT_EQ(state("good"), "both");
    EXPECT_EQ(Policy(with(written, changes)).denies_module("good"),
              (Rule{RuleKind::deny_module, "good", "", 0}));
}

TEST_F(RuntimeChangesTest, DenyOfWhatIsWrittenChangesNothing) {
    changes.deny(written, "bad");
    EXPECT_EQ(changes.count(), 0U);
}

TEST_F(RuntimeChangesTest, RemoveTakesAModuleOffWhicheverListItIsOn) {
    for (const std::string module : {"good", "bad", "torn"}) {
        EXPECT_TRUE(changes.remove(written, module)) << module;
        EXPECT_EQ(state(module), "neither") << module;
        EXPECT_FALSE(changes.remove(written, module)) << module;
    }
    EXPECT_FALSE(changes.remove(written, "new"));
    EXPECT_EQ(changes.count(), 3U);
}

TEST_F(RuntimeChangesTest, RemoveUndoesWhatWasGivenAtRunTime) {
    changes.allow(written, "new");
    changes.deny(written, "new");
    EXPECT_TRUE(changes.remove(written, "new"));
    EXPECT_EQ(state("new"), "neither");
    EXPECT_EQ(changes.count(), 0U);
}

TEST_F(RuntimeChangesTest, RemoveTakesTheRunTimeAndTheWrittenEntry) {
    changes.deny(written, "good");
    EXPECT_TRUE(changes.remove(written, "good"));
    EXPECT_EQ(state("good"), "neither");
}

TEST_F(RuntimeChangesTest, AllowAfterRemoveAllows) {
    ASSERT_TRUE(changes.remove(written, "good"));
    changes.allow(written, "good");
    EXPECT_EQ(state("good"), "allowed");
    EXPECT_EQ(changes.count(), 0U); // as written again
    ASSERT_TRUE(changes.remove(written, "bad"));
    changes.allow(written, "bad");
    EXPECT_EQ(state("bad"), "allowed");
    ASSERT_TRUE(changes.remove(written, "torn"));
    changes.allow(written, "torn");
    EXPECT_EQ(state("torn"), "allowed"); // the written denial does not come back with it
}

TEST_F(RuntimeChangesTest, DenyAfterRemoveDenies) {
    for (const std::string module : {"good", "bad", "torn"}) {
        ASSERT_TRUE(changes.remove(written, module));
        changes.deny(written, module);
        EXPECT_EQ(state(module), "denied") << module; // the written permission does not come back with it
    }
}

TEST_F(RuntimeChangesTest, AnAliasIsDeniedAsItWasGivenAndFoundInAnySpelling) {
    changes.deny_alias(written, "net-pf-15");
    changes.deny_alias(written, "net_pf_15");
    EXPECT_EQ(changes.count(), 1U);
    EXPECT_EQ(Policy(with(written, changes)).denies_token("net_pf-15"),
              (Rule{RuleKind::deny_alias, "net-pf-15", "", 0}));
    EXPECT_TRUE(changes.remove_alias(written, "net_pf_15"));
    EXPECT_EQ(changes.count(), 0U);
    EXPECT_FALSE(changes.remove_alias(written, "net-pf-15"));
}

TEST_F(RuntimeChangesTest, RemoveTakesAnAliasOffEitherList) {
    written.deny_aliases.push_back({"net-pf-*", {}});
    for (const std::string alias : {"fs-*", "net_pf_*"}) {
        EXPECT_TRUE(changes.remove_alias(written, alias)) << alias;
        EXPECT_FALSE(changes.remove_alias(written, alias)) << alias;
    }
    const Policy policy(with(written, changes));
    EXPECT_FALSE(policy.allows_token("fs-ext4"));
    EXPECT_FALSE(policy.denies_token("net-pf-15"));
    changes.deny_alias(written, "net-pf-*");
    EXPECT_TRUE(Policy(with(written, changes)).denies_token("net-pf-15"));
}

TEST_F(RuntimeChangesTest, AnAliasDeniedInTheFileSinceItWasRemovedIsDenied) {
    const PolicySource before = written;
    ASSERT_TRUE(changes.remove_alias(written, "fs-*"));
    written.deny_aliases.push_back({"fs-*", {}});
    changes.unmask_new_denials(before, written);
    EXPECT_TRUE(Policy(with(written, changes)).denies_token("fs-ext4"));
}

TEST_F(RuntimeChangesTest, ModeIsThatGivenLast) {
    EXPECT_EQ(with(written, changes).mode, Mode::enforce);
    changes.mode = Mode::audit;
    EXPECT_EQ(with(written, changes).mode, Mode::audit);
    EXPECT_NE(changes.count(), 0U);
}

} // namespace
} // namespace kmodguard::core
