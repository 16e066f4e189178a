// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows how an image that somebody hands to the kernel is judged where no token is known: by the names inside
// it, by its content where that is pinned, by its own aliases, and by what needs it.
#include "core/admission.hpp"
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
using test::decide_one_image;
using test::FakeIndex;
using test::PolicyBuilder;

ImageFacts image_of(const std::string& name) {
    return {.problem = "", .name = name, .modinfo_name = name, .sha256 = std::nullopt};
}

class DecisionImage : public ::testing::Test {
  protected:
    DecisionImage() {
        index.module("top").needs("middle", "bottom").soft_after("beside").alias("fs-top", "pci:v1d*");
        index.module("middle").needs("bottom");
        index.module("bottom").alias("bottom-alias");
        index.module("beside");
        index.module("alone").alias("net-pf-15");
    }
    ModuleDecision ask(const PolicyBuilder& policy, const ImageFacts& facts) {
        const Decision decision = decide_one_image(policy.build(), index, facts);
        EXPECT_EQ(decision.modules.size(), 1U);
        const ModuleDecision& module = decision.modules.at(0);
        EXPECT_EQ(decision.judged, module.verdict());
        EXPECT_EQ(decision.reason, module.reason);
        EXPECT_EQ(decision.rule, module.rule);
        EXPECT_EQ(decision.effective(), module.verdict());
        EXPECT_EQ(decision.loads(module), module.verdict() == Verdict::allow);
        return module;
    }
    void expect(const ModuleDecision& module, Reason reason, std::optional<std::uint32_t> line) {
        EXPECT_EQ(to_string(module.reason), to_string(reason));
        EXPECT_EQ(module.rule ? std::optional(module.rule->line) : std::nullopt, line);
    }
    FakeIndex index;
};

TEST_F(DecisionImage, OfAListedModuleLoads) {
    const ModuleDecision module = ask(PolicyBuilder().allow("loop", "alone"), image_of("alone"));
    expect(module, Reason::listed, 2);
    EXPECT_EQ(module.module, "alone");
    EXPECT_EQ(module.chain, (std::vector<Step>{{"alone", true}}));
}

TEST_F(DecisionImage, OfAListedModuleThatTheIndexDoesNotKnowLoads) {
    expect(ask(PolicyBuilder().allow("out_of_tree"), image_of("out-of-tree")), Reason::listed, 1);
}

TEST_F(DecisionImage, IsItsNameInsideInOneSpelling) {
    index.module("dm_crypt");
    const ModuleDecision module = ask(PolicyBuilder().allow("dm_crypt"), image_of("dm-crypt"));
    expect(module, Reason::listed, 1);
    EXPECT_EQ(module.module, "dm_crypt");
    expect(ask(PolicyBuilder().allow("dm_crypt").deny("dm_crypt"), image_of("dm-crypt")),
           Reason::denied_module, 2);
}

TEST_F(DecisionImage, NobodyListedIsRefused) {
    expect(ask(PolicyBuilder(), image_of("alone")), Reason::not_listed, std::nullopt);
    expect(ask(PolicyBuilder().allow("top"), image_of("alone")), Reason::not_listed, std::nullopt);
    expect(ask(PolicyBuilder().allow("top").allow_alias("*"), image_of("nowhere")), Reason::not_listed,
           std::nullopt);
}

TEST_F(DecisionImage, OfAModuleInTheKernelIsJudgedLikeAnyOther) {
    index.module("inside").built_in();
    expect(ask(PolicyBuilder(), image_of("inside")), Reason::not_listed, std::nullopt);
}

TEST_F(DecisionImage, WithTwoNamesIsRefusedThoughBothAreListed) {
    ImageFacts facts = image_of("alone");
    facts.modinfo_name = "top";
    const ModuleDecision module = ask(PolicyBuilder().allow("alone", "top"), facts);
    expect(module, Reason::contradictory_image, std::nullopt);
    EXPECT_NE(module.detail.find("alone"), std::string::npos);
    EXPECT_NE(module.detail.find("top"), std::string::npos);
}

TEST_F(DecisionImage, WhoseNamesDifferInTheDashAgrees) {
    ImageFacts facts = image_of("dm-mod");
    facts.modinfo_name = "dm_mod";
    expect(ask(PolicyBuilder().allow("dm_mod"), facts), Reason::listed, 1);
}

TEST_F(DecisionImage, OfAKernelThatWritesOneNameOnlyGoesByThat) {
    ImageFacts facts = image_of("alone");
    facts.modinfo_name = "";
    expect(ask(PolicyBuilder().allow("alone"), facts), Reason::listed, 1);
}

TEST_F(DecisionImage, WithoutAnyNameIsRefused) {
    EXPECT_EQ(ask(PolicyBuilder().allow("alone").allow_alias("*"), image_of("")).verdict(), Verdict::refuse);
    ImageFacts facts = image_of("");
    facts.modinfo_name = "alone";
    expect(ask(PolicyBuilder().allow("alone"), facts), Reason::contradictory_image, std::nullopt);
}

TEST_F(DecisionImage, ThatCannotBeReadIsRefusedWhateverItClaims) {
    ImageFacts facts = image_of("alone");
    facts.problem = "section headers beyond the end";
    const ModuleDecision module = ask(PolicyBuilder().allow("alone"), facts);
    expect(module, Reason::unreadable_image, std::nullopt);
    EXPECT_EQ(module.detail, "section headers beyond the end");
}

TEST_F(DecisionImage, ThatIsNoModuleIsTheKernelsToAnswerInEveryMode) {
    ImageFacts facts;
    facts.problem = "not an ELF file";
    facts.no_module = true;
    for (const bool audit : {false, true}) {
        PolicyBuilder policy = PolicyBuilder().allow_alias("*");
        if (audit) policy.audit();
        const Decision decision = decide_one_image(policy.build(), index, facts);
        EXPECT_EQ(decision.reason, Reason::not_a_module);
        EXPECT_EQ(decision.effective(), Verdict::refuse) << "nothing is let pass that is not there";
        EXPECT_EQ(decision.modules.at(0).detail, "not an ELF file");
    }
}

TEST_F(DecisionImage, IsComparedWithItsPins) {
    const PolicyBuilder policy =
        PolicyBuilder().allow("alone").pin("alone", content(2)).pin("alone", content(3));
    ImageFacts facts = image_of("alone");
    facts.sha256 = content(3);
    expect(ask(policy, facts), Reason::listed, 1);
    facts.sha256 = content(4);
    const ModuleDecision module = ask(policy, facts);
    expect(module, Reason::pin_mismatch, 2);
    EXPECT_EQ(module.detail, "sha256 " + to_hex(content(4)));
}

TEST_F(DecisionImage, ThatIsPinnedAndWasNotHashedIsRefused) {
    const ModuleDecision module =
        ask(PolicyBuilder().allow("alone").pin("alone", content(2)), image_of("alone"));
    expect(module, Reason::pin_mismatch, 2);
    EXPECT_FALSE(module.detail.empty());
}

TEST_F(DecisionImage, OfTheRightContentIsNotAllowedByThePin) {
    ImageFacts facts = image_of("alone");
    facts.sha256 = content(2);
    expect(ask(PolicyBuilder().pin("alone", content(2)), facts), Reason::not_listed, std::nullopt);
}

TEST_F(DecisionImage, IsAdmittedByOneOfItsOwnAliases) {
    expect(ask(PolicyBuilder().allow_alias("net-pf-15"), image_of("alone")), Reason::alias_listed, 1);
    expect(ask(PolicyBuilder().allow_alias("net-pf-1*"), image_of("alone")), Reason::alias_listed, 1);
    expect(ask(PolicyBuilder().allow_alias("pci:v1d*"), image_of("top")), Reason::alias_listed, 1);
    expect(ask(PolicyBuilder().allow_alias("pci:v1d00"), image_of("top")), Reason::not_listed, std::nullopt);
}

TEST_F(DecisionImage, IsRefusedForOneOfItsOwnAliases) {
    expect(ask(PolicyBuilder().allow("alone").deny_alias("net-pf-*"), image_of("alone")),
           Reason::denied_alias, 2);
    expect(ask(PolicyBuilder().allow_alias("fs-*").deny_alias("pci:*"), image_of("top")),
           Reason::denied_alias, 2);
}

TEST_F(DecisionImage, IsRefusedForADenyRuleThoughListed) {
    expect(ask(PolicyBuilder().allow("alone").deny("alone"), image_of("alone")), Reason::denied_module, 2);
}

TEST_F(DecisionImage, OfADependencyOfAListedModuleLoads) {
    for (const std::string name : {"middle", "bottom", "beside"}) {
        const ModuleDecision module = ask(PolicyBuilder().allow("alone", "top"), image_of(name));
        expect(module, Reason::dependency, std::nullopt);
        EXPECT_EQ(module.because_of, "top") << name;
    }
}

TEST_F(DecisionImage, OfADependencyIsRefusedWhereTheyMustBeListed) {
    expect(ask(PolicyBuilder().allow("top").without_dependencies(), image_of("bottom")), Reason::not_listed,
           std::nullopt);
}

TEST_F(DecisionImage, OfADeniedDependencyIsRefused) {
    expect(ask(PolicyBuilder().allow("top").deny("bottom"), image_of("bottom")), Reason::denied_module, 2);
    expect(ask(PolicyBuilder().allow("top").deny_alias("bottom-alias"), image_of("bottom")),
           Reason::denied_alias, 2);
}

TEST_F(DecisionImage, IsNotADependencyOfWhatIsItselfDenied) {
    expect(ask(PolicyBuilder().allow("top").deny("top"), image_of("middle")), Reason::not_listed,
           std::nullopt);
    expect(ask(PolicyBuilder().allow("top").deny_alias("fs-top"), image_of("middle")), Reason::not_listed,
           std::nullopt);
}

TEST_F(DecisionImage, IsNotADependencyOfWhatADeniedDependencyRefuses) {
    expect(ask(PolicyBuilder().allow("top").deny("bottom"), image_of("middle")), Reason::not_listed,
           std::nullopt);
    expect(ask(PolicyBuilder().allow("top").deny_alias("bottom-alias"), image_of("middle")),
           Reason::not_listed, std::nullopt);
    expect(ask(PolicyBuilder().allow("top").deny("beside"), image_of("middle")), Reason::not_listed,
           std::nullopt);
}

TEST_F(DecisionImage, IsADependencyOfAnotherListedModuleThatMayLoad) {
    index.module("other").needs("middle", "bottom");
    const ModuleDecision module =
        ask(PolicyBuilder().allow("top", "other").deny("beside"), image_of("middle"));
    expect(module, Reason::dependency, std::nullopt);
    EXPECT_EQ(module.because_of, "other");
}

TEST_F(DecisionImage, OfADependencyOfAModuleThatAnAliasAdmitsLoads) {
    for (const std::string name : {"middle", "bottom", "beside"}) {
        const ModuleDecision module = ask(PolicyBuilder().allow_alias("fs-*"), image_of(name));
        expect(module, Reason::dependency, std::nullopt);
        EXPECT_EQ(module.because_of, "top") << name;
    }
    expect(ask(PolicyBuilder().allow_alias("fs-*"), image_of("alone")), Reason::not_listed, std::nullopt);
    expect(ask(PolicyBuilder().allow_alias("fs-*").without_dependencies(), image_of("bottom")),
           Reason::not_listed, std::nullopt);
}

TEST_F(DecisionImage, IsNotADependencyOfWhatAnAliasAdmitsAndARuleDenies) {
    for (const char* denied : {"top", "bottom", "beside"})
        expect(ask(PolicyBuilder().allow_alias("fs-*").deny(denied), image_of("middle")), Reason::not_listed,
               std::nullopt);
    expect(ask(PolicyBuilder().allow_alias("fs-*").deny_alias("pci:*"), image_of("middle")),
           Reason::not_listed, std::nullopt);
}

TEST_F(DecisionImage, IsNotADependencyWhereASoftOneFurtherDownIsDenied) {
    index.module("beside").soft_before("far");
    index.module("far").needs("farther");
    index.module("farther");
    for (const std::string name : {"middle", "far", "farther"})
        expect(ask(PolicyBuilder().allow("top"), image_of(name)), Reason::dependency, std::nullopt);
    expect(ask(PolicyBuilder().allow("top").deny("farther"), image_of("far")), Reason::not_listed,
           std::nullopt);
    expect(ask(PolicyBuilder().allow("top").deny("farther"), image_of("middle")), Reason::not_listed,
           std::nullopt);
    expect(ask(PolicyBuilder().allow("top").deny("farther"), image_of("top")), Reason::listed, 1);
}

TEST_F(DecisionImage, IsNotADependencyOfAListedModuleWhoseOwnAliasIsDenied) {
    const PolicyBuilder policy = PolicyBuilder().allow("top").deny_alias("fs-*");
    expect(ask(policy, image_of("top")), Reason::denied_alias, 2);
    expect(ask(policy, image_of("middle")), Reason::not_listed, std::nullopt);
}

TEST_F(DecisionImage, IsADependencyOfADependency) {
    index.module("beyond").soft_before("middle");
    index.module("alone").needs("beyond");
    const ModuleDecision module = ask(PolicyBuilder().allow("alone"), image_of("middle"));
    expect(module, Reason::dependency, std::nullopt);
    EXPECT_EQ(module.because_of, "alone");
}

/// What depmod saw tells which aliases a module answers to; what it says now may forbid it.
TEST_F(DecisionImage, IsAdmittedByAliasesOfTheIndexAndDeniedByItsOwn) {
    index.module("new").alias_in_image("net-pf-99");
    index.module("old").alias_in_index("net-pf-98");
    expect(ask(PolicyBuilder().allow_alias("net-pf-9*"), image_of("new")), Reason::not_listed, std::nullopt);
    expect(ask(PolicyBuilder().allow_alias("net-pf-9*"), image_of("old")), Reason::alias_listed, 1);
    expect(ask(PolicyBuilder().allow("new").deny_alias("net-pf-99"), image_of("new")), Reason::denied_alias,
           2);
    expect(ask(PolicyBuilder().allow("old").deny_alias("net-pf-98"), image_of("old")), Reason::listed, 1);
}

TEST_F(DecisionImage, WhoseAliasesCannotBeReadIsRefusedWhereAnyIsDenied) {
    index.module("bottom").aliases_unreadable();
    expect(ask(PolicyBuilder().allow("bottom"), image_of("bottom")), Reason::listed, 1);
    const PolicyBuilder policy = PolicyBuilder().allow("bottom", "top").deny_alias("net-pf-99");
    expect(ask(policy, image_of("bottom")), Reason::unreadable_image, std::nullopt);
    expect(ask(policy, image_of("middle")), Reason::not_listed, std::nullopt);
}

/// As after depmod ran without it, or with modules.dep.bin gone.
TEST_F(DecisionImage, OfAListedModuleThatTheIndexHasNotIsRefusedWhereAnyAliasIsDenied) {
    const PolicyBuilder policy = PolicyBuilder().allow("af_key").deny_alias("net-pf-*");
    const ModuleDecision module = ask(policy, image_of("af_key"));
    expect(module, Reason::unreadable_image, std::nullopt);
    EXPECT_EQ(explain(module),
              "af_key has an image that cannot be judged (its aliases are not known, and the "
              "policy denies aliases)");
    NoModules none;
    EXPECT_EQ(decide_one_image(policy.build(), none, image_of("af_key")).reason, Reason::unreadable_image);
    EXPECT_EQ(decide_one_image(PolicyBuilder().allow("af_key").build(), none, image_of("af_key")).reason,
              Reason::listed);
}

TEST_F(DecisionImage, ThatTheIndexHasNotIsDeniedByTheAliasesItSaysItHas) {
    const PolicyBuilder policy = PolicyBuilder().allow("af_key").deny_alias("net-pf-*");
    ImageFacts facts = image_of("af_key");
    facts.aliases = {"net-pf-15"};
    expect(ask(policy, facts), Reason::denied_alias, 2);
    facts.aliases = {"fs-key"};
    expect(ask(policy, facts), Reason::listed, 1);
    facts.aliases.emplace();
    expect(ask(policy, facts), Reason::listed, 1);
    expect(ask(PolicyBuilder().allow("other").deny_alias("net-pf-*"), facts), Reason::not_listed,
           std::nullopt);
    expect(ask(PolicyBuilder().allow("af_key").deny_alias("af-*"), facts), Reason::denied_alias, 2);
}

/// What an image says cannot free it from what is known of the module that it is.
TEST_F(DecisionImage, ThatTheIndexHasIsDeniedByTheAliasesThatTheIndexKnows) {
    ImageFacts facts = image_of("alone");
    facts.aliases.emplace();
    expect(ask(PolicyBuilder().allow("alone").deny_alias("net-pf-*"), facts), Reason::denied_alias, 2);
    index.module("alone").aliases_unreadable();
    expect(ask(PolicyBuilder().allow("alone").deny_alias("net-pf-*"), facts), Reason::unreadable_image,
           std::nullopt);
}

TEST_F(DecisionImage, OfNoLoadableModuleIsAdmittedByNoAlias) {
    index.module("inside").built_in().soft_after("beside").alias("net-pf-20");
    index.configured_alias("net-pf-21", "nowhere").configured_alias("net-pf-22", "bottom");
    const PolicyBuilder policy = PolicyBuilder().allow_alias("net-pf-2*");
    expect(ask(policy, image_of("inside")), Reason::not_listed, std::nullopt);
    expect(ask(policy, image_of("beside")), Reason::not_listed, std::nullopt);
    expect(ask(policy, image_of("nowhere")), Reason::not_listed, std::nullopt);
    expect(ask(policy, image_of("bottom")), Reason::alias_listed, 1);
}

TEST_F(DecisionImage, IsDecidedTheSameByATableThatWasKept) {
    const Policy policy = PolicyBuilder().allow("top").allow_alias("net-pf-*").deny("beside").build();
    const Admissions admissions(policy, index);
    const std::vector<std::pair<std::string, Reason>> expected = {
        {"top", Reason::listed},
        {"middle", Reason::not_listed}, // top pulls in what is denied, too
        {"beside", Reason::denied_module},
        {"alone", Reason::alias_listed},
        {"nowhere", Reason::not_listed}};
    for (int round = 0; round < 2; ++round) {
        for (const auto& [name, reason] : expected) {
            const Decision decision = decide_image(policy, index, admissions, image_of(name));
            EXPECT_EQ(decision.reason, reason) << name;
            EXPECT_EQ(decision, decide_one_image(policy, index, image_of(name))) << name;
        }
        EXPECT_EQ(decide(policy, index, "net-pf-15").judged, Verdict::allow); // others ask meanwhile
        index.module("late").alias("late-alias");
    }
}

/// A module whose file was changed since the table was made.
TEST_F(DecisionImage, IsDeniedByWhatItsAliasesAreNowWhateverTheTableSays) {
    const Policy policy = PolicyBuilder().allow("alone").deny_alias("net-pf-99").build();
    const Admissions admissions(policy, index);
    EXPECT_EQ(decide_image(policy, index, admissions, image_of("alone")).judged, Verdict::allow);
    index.module("alone").alias_in_image("net-pf-99");
    EXPECT_EQ(decide_image(policy, index, admissions, image_of("alone")).reason, Reason::denied_alias);
}

TEST_F(DecisionImage, WithAProblemIsRefusedWhateverTheTableSays) {
    const Policy policy = PolicyBuilder().allow("alone").pin("alone", content(2)).build();
    const Admissions admissions(policy, index);
    ASSERT_NE(admissions.find("alone"), nullptr);
    EXPECT_EQ(decide_image(policy, index, admissions, image_of("alone")).reason, Reason::pin_mismatch);
    ImageFacts facts = image_of("alone");
    facts.problem = "cut short";
    EXPECT_EQ(decide_image(policy, index, admissions, facts).reason, Reason::unreadable_image);
    EXPECT_EQ(decide_image(policy, index, Admissions(), image_of("top")).reason, Reason::not_listed);
}

TEST_F(DecisionImage, IsNotJudgedByTheTokenBeside) {
    const Policy policy = PolicyBuilder().allow_alias("net-pf-15").build();
    EXPECT_EQ(decide(policy, index, "net-pf-15").judged, Verdict::allow);
    EXPECT_EQ(decide_one_image(policy, index, image_of("bottom")).judged, Verdict::refuse);
}

} // namespace
} // namespace kmodguard::core
