// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows what becomes of a request after `kmodctl allow`, `deny`, `remove`, `mode` and after depmod, and that
// no decision outlives what it was made from.
#include "daemon/engine_fixture.hpp"
#include "sys/file.hpp"

namespace kmodguard::daemon {
namespace {

using core::Mode;
using sys::ErrorKind;
using namespace std::chrono_literals;

class EngineTest : public EngineFixture {};

TEST_F(EngineTest, DecidesByThePolicyFile) {
    EXPECT_EQ(verdict("kmt_base"), "allow");
    EXPECT_EQ(verdict("kmt-after"), "allow");
    EXPECT_EQ(verdict("kmt_deep"), "refuse");
    EXPECT_EQ(verdict("kmt_nothing"), "refuse");
    EXPECT_EQ(engine().generation(), 1U);
    EXPECT_EQ(engine().status().policy_error, std::nullopt);
    EXPECT_EQ(engine().status().index_error, std::nullopt);
}

TEST_F(EngineTest, AllowsOnlyTheAllowedOneOfTwo) {
    const core::Decision& decision = engine().decide("kmt-twin-1", Engine::Known::by_files);
    EXPECT_EQ(decision.effective(), core::Verdict::allow);
    for (const auto& module : decision.modules)
        EXPECT_EQ(decision.loads(module), module.module == "kmt_twin_a") << module.module;
}

TEST_F(EngineTest, AllowActsAtOnceAndInMemoryOnly) {
    EXPECT_EQ(verdict("kmt_deep"), "refuse");
    ASSERT_TRUE(engine().allow("kmt-deep")); // any spelling
    EXPECT_EQ(verdict("kmt_deep"), "allow");
    EXPECT_EQ(engine().status().unsaved_changes, 1U);
    EXPECT_EQ(tree.read(policy), usual_policy);
    restart();
    EXPECT_EQ(verdict("kmt_deep"), "refuse");
}

TEST_F(EngineTest, AllowOfADeniedModuleFailsForDenyWins) {
    const auto allowed = engine().allow("kmt_twin_b");
    ASSERT_FALSE(allowed);
    EXPECT_EQ(allowed.error().kind, ErrorKind::failed);
    EXPECT_NE(allowed.error().what.find("policy.toml:13"), std::string::npos) << allowed.error().what;
    EXPECT_NE(allowed.error().hint.find("kmodctl remove kmt_twin_b"), std::string::npos);
    EXPECT_EQ(verdict("kmt_twin_b"), "refuse");
    EXPECT_EQ(engine().status().unsaved_changes, 0U);
    ASSERT_TRUE(engine().deny("kmt_deep"));
    EXPECT_FALSE(engine().allow("kmt_deep"));
}

/// It reported success, and the module was refused all the same.
TEST_F(EngineTest, AllowFailsIfAnAliasRuleDenies) {
    tree.write(policy, "version = 1\n[deny]\naliases = [\"kmt-only-b\"]\n");
    EXPECT_FALSE(engine().allow("kmt_twin_b"));
    EXPECT_EQ(engine().status().unsaved_changes, 0U);
}

/// It was stored as a module net_pf_15, say, which denied nothing.
TEST_F(EngineTest, DenyOfAnAliasDeniesIt) {
    ASSERT_TRUE(engine().remove("kmt_twin_b"));
    ASSERT_TRUE(engine().allow("kmt_twin_b"));
    ASSERT_TRUE(engine().deny("kmt-only-b"));
    EXPECT_EQ(reason("kmt-only-b"), "denied-token");
    EXPECT_EQ(reason("kmt_only_b"), "denied-token");
    EXPECT_EQ(reason("kmt_twin_b"), "denied-alias");
    EXPECT_EQ(verdict("kmt-twin-1"), "allow") << "another module answers to it";
    ASSERT_TRUE(engine().remove("kmt_only_b"));
    EXPECT_EQ(verdict("kmt-only-b"), "allow");
}

TEST_F(EngineTest, DenyOfAPatternDeniesWhateverItMatches) {
    ASSERT_TRUE(engine().deny("kmt-twin-*"));
    EXPECT_EQ(reason("kmt-twin-1"), "denied-token");
    ASSERT_TRUE(engine().remove("kmt-twin-*"));
    EXPECT_FALSE(engine().policy().denies_token("kmt-twin-1"));
    EXPECT_FALSE(engine().policy().allows_token("kmt-twin-1")) << "it is off both lists";
}

/// The name was not one of this kernel's when it was denied, and comes with the next package.
TEST_F(EngineTest, DenyOfAnUnknownNameHoldsWhenAModuleOfThatNameOrAliasComes) {
    for (const char* name : {"kmt_late", "kmt-late-alias"})
        ASSERT_TRUE(engine().deny(name));
    tree.add({.name = "kmt_late"}).add({.name = "kmt_other", .aliases = {"kmt-late-alias"}}).depmod();
    ASSERT_TRUE(engine().refresh_index());
    EXPECT_FALSE(engine().allow("kmt_late"));
    EXPECT_FALSE(engine().allow("kmt_other"));
    EXPECT_EQ(reason("kmt_late"), "denied-token");
    EXPECT_EQ(reason("kmt_other"), "denied-alias");
}

/// It was said to be allowed, and stayed refused.
TEST_F(EngineTest, AllowOfAnAliasNamesTheModule) {
    const auto allowed = engine().allow("kmt-only-b");
    ASSERT_FALSE(allowed);
    EXPECT_NE(allowed.error().what.find("an alias of kmt_twin_b"), std::string::npos) << allowed.error().what;
    EXPECT_NE(allowed.error().hint.find("kmodctl allow kmt_twin_b"), std::string::npos);
    EXPECT_EQ(engine().status().unsaved_changes, 0U);
}

/// An alias among the modules of the file denied nothing at all.
TEST_F(EngineTest, AnAliasInDenyModulesIsDenied) {
    tree.write(policy, "version = 1\n[allow]\naliases = [\"*\"]\n[deny]\nmodules = [\"kmt-only-b\"]\n");
    EXPECT_EQ(reason("kmt-only-b"), "denied-token");
    EXPECT_EQ(reason("kmt_twin_b"), "denied-alias");
    EXPECT_EQ(verdict("kmt_twin_a"), "allow");
    EXPECT_EQ(engine().decide("kmt_twin_b", Engine::Known::by_files).rule,
              (core::Rule{core::RuleKind::deny_module, "kmt_only_b", tree / policy, 5}));
    ASSERT_TRUE(engine().remove("kmt-only-b"));
    EXPECT_EQ(verdict("kmt-only-b"), "allow");
}

/// What an index of before knew of names was kept.
TEST_F(EngineTest, AnAliasInDenyModulesIsDeniedOnceItIsOne) {
    tree.write(policy, "version = 1\n[allow]\naliases = [\"*\"]\n[deny]\nmodules = [\"kmt-late-alias\"]\n");
    EXPECT_EQ(verdict("kmt_base"), "allow");
    tree.add({.name = "kmt_late", .aliases = {"kmt-late-alias"}}).depmod();
    ASSERT_TRUE(engine().refresh_index());
    EXPECT_EQ(reason("kmt_late"), "denied-alias");
}

/// The denial was masked by the earlier removal.
TEST_F(EngineTest, DenialWrittenAfterARemoveHolds) {
    ASSERT_TRUE(engine().remove("kmt_base"));
    tree.write(policy, "version = 1\n[allow]\naliases = [\"*\"]\n[deny]\nmodules = [\"kmt_base\"]\n");
    ASSERT_TRUE(engine().reload());
    EXPECT_EQ(reason("kmt_base"), "denied-module");
}

/// It stayed refused until the next publication.
TEST_F(EngineTest, MendedImageIsJudgedAnew) {
    const auto image = tree / ("lib/modules/" + test::ModuleTree::release + "/kernel/kmt_base.ko");
    const std::string whole = sys::read_file(image, 1 << 20).value();
    ASSERT_TRUE(sys::write_file_atomically(image, whole.substr(0, 40), 0644));
    EXPECT_EQ(reason("kmt_base"), "unreadable-image");
    ASSERT_TRUE(sys::write_file_atomically(image, whole, 0644));
    EXPECT_EQ(reason("kmt_base"), "listed");
}

TEST_F(EngineTest, AllowAsTheHintSaysAfterRemove) {
    ASSERT_TRUE(engine().remove("kmt_twin_b"));
    ASSERT_TRUE(engine().allow("kmt_twin_b"));
    EXPECT_EQ(verdict("kmt_twin_b"), "allow");
    EXPECT_EQ(verdict("kmt-only-b"), "allow");
}

TEST_F(EngineTest, DenyWinsOverAllowAndOverEveryAlias) {
    EXPECT_EQ(verdict("kmt-twin-1"), "allow");
    ASSERT_TRUE(engine().deny("kmt_twin_a"));
    EXPECT_EQ(verdict("kmt-twin-1"), "refuse");
    ASSERT_TRUE(engine().deny("kmt_base"));
    EXPECT_EQ(verdict("kmt_base"), "refuse");
    EXPECT_EQ(reason("kmt_base"), "denied-module");
    ASSERT_TRUE(engine().allow("kmt_needs"));
    EXPECT_EQ(reason("kmt_needs"), "denied-dependency");
}

TEST_F(EngineTest, RemoveTakesOffEitherList) {
    ASSERT_TRUE(engine().remove("kmt_base"));
    EXPECT_EQ(verdict("kmt_base"), "refuse");
    ASSERT_TRUE(engine().remove("kmt_twin_b"));
    EXPECT_EQ(reason("kmt_twin_b"), "alias-listed");
    ASSERT_TRUE(engine().allow("kmt_deep"));
    ASSERT_TRUE(engine().remove("kmt_deep"));
    EXPECT_EQ(verdict("kmt_deep"), "refuse");
}

TEST_F(EngineTest, RemoveOfWhatIsOnNoListIsNotFoundAndChangesNothing) {
    for (const char* module : {"kmt_deep", "kmt_nothing"}) {
        const auto removed = engine().remove(module);
        ASSERT_FALSE(removed);
        EXPECT_EQ(removed.error().kind, ErrorKind::not_found);
        EXPECT_NE(removed.error().what.find(module), std::string::npos);
    }
    ASSERT_TRUE(engine().remove("kmt_base"));
    EXPECT_EQ(engine().remove("kmt_base").error().kind, ErrorKind::not_found);
    EXPECT_EQ(engine().generation(), 2U);
}

TEST_F(EngineTest, WhatIsNoModuleNameIsInvalidEverywhere) {
    for (const std::string& name : {std::string(), std::string("a b"), std::string("kmt_*"),
                                    std::string("a\nb"), std::string("/lib/kmt_base.ko"),
                                    std::string("../kmt_base"), std::string(200, 'a'), std::string("\xff")}) {
        EXPECT_EQ(engine().allow(name).error().kind, ErrorKind::invalid) << name;
    }
    for (const std::string& name :
         {std::string(), std::string("a\nb"), std::string("/lib/kmt_base.ko"), std::string("../kmt_base"),
          std::string(5000, 'a'), std::string("\xff"), std::string("-r")}) {
        EXPECT_EQ(engine().deny(name).error().kind, ErrorKind::invalid) << name;
        EXPECT_EQ(engine().remove(name).error().kind, ErrorKind::invalid) << name;
    }
    EXPECT_EQ(engine().generation(), 1U);
}

TEST_F(EngineTest, OddTokensNameNothing) {
    for (const std::string& token :
         {std::string("-r"), std::string("../../tmp/kmt_base"), std::string("$(reboot)"),
          std::string(5000, 'a'), std::string("\xff"), std::string("a\nb"), std::string()})
        EXPECT_EQ(verdict(token), "refuse") << token;
    EXPECT_EQ(reason("-r"), "not-a-name");
}

TEST_F(EngineTest, AuditModeLetsPassAndRemembersTheVerdict) {
    EXPECT_TRUE(engine().set_mode(Mode::audit));
    EXPECT_EQ(verdict("kmt_deep"), "allow");
    EXPECT_TRUE(engine().decide("kmt_deep", Engine::Known::by_files).audited());
    EXPECT_EQ(verdict("kmt_nothing"), "refuse");
    EXPECT_EQ(engine().status().unsaved_changes, 1U);
    EXPECT_TRUE(engine().set_mode(Mode::enforce));
    EXPECT_EQ(verdict("kmt_deep"), "refuse");
    EXPECT_EQ(engine().status().unsaved_changes, 0U); // as written
}

TEST_F(EngineTest, ModeForALimitedTimeGoesBackAndIsNeverAnUnsavedChange) {
    const auto until = Engine::Clock::now() + 30min;
    EXPECT_TRUE(engine().set_mode(Mode::audit, until));
    EXPECT_EQ(engine().limited_until(), until);
    EXPECT_EQ(verdict("kmt_deep"), "allow");
    EXPECT_EQ(engine().status().unsaved_changes, 0U);
    ASSERT_TRUE(engine().apply());
    EXPECT_EQ(tree.read(policy), usual_policy);
    EXPECT_EQ(verdict("kmt_deep"), "allow"); // still
    EXPECT_TRUE(engine().end_limited_mode());
    EXPECT_EQ(engine().limited_until(), std::nullopt);
    EXPECT_EQ(verdict("kmt_deep"), "refuse");
}

TEST_F(EngineTest, LastingModeEndsALimitedOne) {
    EXPECT_TRUE(engine().set_mode(Mode::audit, Engine::Clock::now() + 30min));
    EXPECT_TRUE(engine().set_mode(Mode::enforce));
    EXPECT_EQ(engine().limited_until(), std::nullopt);
    EXPECT_EQ(verdict("kmt_deep"), "refuse");
}

TEST_F(EngineTest, ForcedModeIsStrongerThanAnyOther) {
    forced = Mode::audit;
    EXPECT_TRUE(engine().status().mode_forced);
    EXPECT_EQ(verdict("kmt_deep"), "allow");
    EXPECT_TRUE(engine().set_mode(Mode::enforce));
    EXPECT_EQ(verdict("kmt_deep"), "allow");
    EXPECT_TRUE(engine().set_mode(Mode::enforce, Engine::Clock::now() + 1min));
    EXPECT_EQ(verdict("kmt_deep"), "allow");
    ASSERT_TRUE(engine().reload(true));
    EXPECT_EQ(verdict("kmt_deep"), "allow");
}

TEST_F(EngineTest, EveryPublishIsANewGeneration) {
    EXPECT_EQ(engine().generation(), 1U);
    ASSERT_TRUE(engine().allow("kmt_deep"));
    ASSERT_TRUE(engine().deny("kmt_needs"));
    EXPECT_TRUE(engine().set_mode(Mode::audit));
    ASSERT_TRUE(engine().reload());
    EXPECT_EQ(engine().generation(), 5U);
}

TEST_F(EngineTest, CountsWhatWasActedUpon) {
    static_cast<void>(engine().decide_to_load("kmt_base", Engine::Known::as_judged));
    static_cast<void>(engine().decide_to_load("kmt_deep", Engine::Known::as_judged));
    static_cast<void>(engine().decide_to_load("kmt_deep", Engine::Known::as_judged));
    EXPECT_TRUE(engine().set_mode(Mode::audit));
    static_cast<void>(engine().decide_to_load("kmt_deep", Engine::Known::as_judged));
    EXPECT_EQ(engine().status().allowed, 1U);
    EXPECT_EQ(engine().status().refused, 2U);
    EXPECT_EQ(engine().status().audited, 1U);
}

TEST_F(EngineTest, DecisionIsMadeAnewOnceAFileOfItsPlanChanged) {
    EXPECT_EQ(verdict("kmt_base"), "allow");
    tree.add({.name = "kmt_base", .calls_itself = "kmt_evil"});
    EXPECT_EQ(verdict("kmt_base"), "refuse");
    EXPECT_EQ(reason("kmt_base"), "contradictory-image");
}

TEST_F(EngineTest, DepmodIsNoticedAndForgetsDecisions) {
    tree.write(policy, "version = 1\n[allow]\nmodules = [\"kmt_new\"]\n");
    EXPECT_EQ(reason("kmt_new"), "no-such-module");
    EXPECT_FALSE(engine().refresh_index());
    tree.add({.name = "kmt_new"}).depmod();
    EXPECT_TRUE(engine().refresh_index());
    EXPECT_EQ(verdict("kmt_new"), "allow");
}

TEST_F(EngineTest, ConfigurationEditedInPlaceIsNoticed) {
    ASSERT_TRUE(engine().allow("kmt_needs"));
    EXPECT_EQ(verdict("kmt-alias-1"), "allow");
    tree.write("etc/modprobe.d/kmt.conf", "blacklist kmt_needs\n"); // no directory changes
    EXPECT_TRUE(engine().refresh_index());
    EXPECT_EQ(reason("kmt-alias-1"), "blacklisted");
}

TEST_F(EngineTest, ConfigurationDirectoryThatComesLaterIsNoticed) {
    ASSERT_TRUE(engine().allow("kmt_needs"));
    EXPECT_EQ(verdict("kmt-alias-1"), "allow");
    tree.write("run/modprobe.d/later.conf", "blacklist kmt_needs\n");
    EXPECT_TRUE(engine().refresh_index());
    EXPECT_EQ(reason("kmt-alias-1"), "blacklisted");
}

TEST_F(EngineTest, WithoutAModuleIndexEverythingIsRefusedUntilThereIsOne) {
    std::filesystem::rename(tree / "lib/modules", tree / "lib/away");
    EXPECT_TRUE(engine().status().index_error);
    EXPECT_EQ(engine().index().find("kmt_base"), nullptr);
    EXPECT_EQ(verdict("kmt_base"), "refuse");
    EXPECT_TRUE(engine().set_mode(Mode::audit));
    EXPECT_EQ(verdict("kmt_base"), "refuse");
    EXPECT_TRUE(engine().set_mode(Mode::enforce));
    std::filesystem::rename(tree / "lib/away", tree / "lib/modules");
    EXPECT_TRUE(engine().refresh_index());
    EXPECT_EQ(engine().status().index_error, std::nullopt);
    EXPECT_EQ(verdict("kmt_base"), "allow");
}

TEST_F(EngineTest, WarmUpIsNeededAgainWhereADecisionFindsAnotherIndex) {
    EXPECT_TRUE(engine().needs_warm_up());
    while (engine().warm_up_next()) {
    }
    EXPECT_FALSE(engine().needs_warm_up());
    static_cast<void>(engine().decide_to_load("kmt_base", Engine::Known::as_judged));
    EXPECT_FALSE(engine().needs_warm_up());
    tree.write("etc/modprobe.d/other.conf", "alias kmt-other kmt_base\n");
    static_cast<void>(engine().decide_to_load("kmt_base", Engine::Known::as_judged));
    EXPECT_TRUE(engine().needs_warm_up());
}

TEST_F(EngineTest, WarmUpJudgesEveryAllowedModuleAndAliasOnceAndEnds) {
    EXPECT_TRUE(engine().warm_up_next());
    EXPECT_TRUE(engine().warm_up_next());
    EXPECT_TRUE(engine().warm_up_next());
    EXPECT_FALSE(engine().warm_up_next());
    ASSERT_TRUE(engine().allow("kmt_deep")); // from the beginning
    int rounds = 0;
    while (engine().warm_up_next())
        ++rounds;
    EXPECT_EQ(rounds, 4);
    EXPECT_EQ(engine().status().allowed, 0U);
}

} // namespace
} // namespace kmodguard::daemon
