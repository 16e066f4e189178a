// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows the table of names that a policy makes: who is in it and for which reason, the stronger one where
// there are several. That it agrees with decide() is shown in decision_random_test.cpp.
#include "core/admission.hpp"
#include "fake_index.hpp"
#include "policy_builder.hpp"

#include <gtest/gtest.h>

#include <map>
#include <optional>
#include <string>

namespace kmodguard::core {
namespace {

using test::FakeIndex;
using test::PolicyBuilder;

class AdmissionTest : public ::testing::Test {
  protected:
    AdmissionTest() {
        index.module("ext4").needs("jbd2", "mbcache").soft_before("crc32c").alias("fs-ext4", "ext3");
        index.module("jbd2");
        index.module("mbcache");
        index.module("crc32c").alias("crypto-crc32c");
        index.module("af_key").needs("xfrm").alias("net-pf-15");
        index.module("xfrm");
        index.module("e1000e").needs("ptp").alias("pci:v00008086d000010D3sv*", "pci:v00008086d00001533sv*");
        index.module("ptp");
    }

    /// Everything admitted: the reason, the line of the rule, and the bringer.
    std::map<std::string, std::string> table(const PolicyBuilder& policy) {
        std::map<std::string, std::string> shown;
        const Admissions admissions(policy.build(), index);
        for (const auto& [name, admission] : admissions.all()) {
            std::string& text = shown[name];
            text = to_string(admission.reason);
            if (admission.rule) text += " " + std::to_string(admission.rule->line);
            if (!admission.because_of.empty()) text += " " + admission.because_of;
        }
        return shown;
    }
    using Table = std::map<std::string, std::string>;
    FakeIndex index;
};

TEST_F(AdmissionTest, WithoutAPolicyThereIsNone) {
    EXPECT_TRUE(Admissions().all().empty());
    EXPECT_EQ(Admissions().find("ext4"), nullptr);
    EXPECT_EQ(Admissions(Policy(), index).find("ext4"), nullptr);
    EXPECT_EQ(table(PolicyBuilder().deny("ext4").deny_alias("*")), Table{});
}

TEST_F(AdmissionTest, OthersTakeAwayWhatTheyDoNotAdmitAndAddNothing) {
    Admissions admissions(PolicyBuilder().allow("af_key", "crc32c").build(), index);
    EXPECT_EQ(admissions.keep_only(Admissions(PolicyBuilder().allow("crc32c", "ptp").build(), index)),
              (std::vector<std::string>{"af_key", "xfrm"}));
    ASSERT_EQ(admissions.all().size(), 1U);
    EXPECT_NE(admissions.find("crc32c"), nullptr);
}

TEST_F(AdmissionTest, IsOfListedModulesAndWhatTheyBring) {
    EXPECT_EQ(table(PolicyBuilder().allow("af_key", "ext4")), (Table{{"af_key", "listed 1"},
                                                                     {"ext4", "listed 2"},
                                                                     {"xfrm", "dependency af_key"},
                                                                     {"jbd2", "dependency ext4"},
                                                                     {"mbcache", "dependency ext4"},
                                                                     {"crc32c", "dependency ext4"}}));
}

TEST_F(AdmissionTest, IsOfModulesWithAnAllowedAliasAndWhatTheyBring) {
    EXPECT_EQ(table(PolicyBuilder().allow_alias("net-pf-*", "pci:v00008086d*")),
              (Table{{"af_key", "alias-listed 1"},
                     {"xfrm", "dependency af_key"},
                     {"e1000e", "alias-listed 2"},
                     {"ptp", "dependency e1000e"}}));
    EXPECT_EQ(table(PolicyBuilder().allow_alias("pci:v00008086d000010D3sv*").without_dependencies()),
              (Table{{"e1000e", "alias-listed 1"}}));
}

TEST_F(AdmissionTest, WithoutDependenciesIsOfListedModulesOnly) {
    EXPECT_EQ(table(PolicyBuilder().allow("af_key", "jbd2").allow_alias("fs-*").without_dependencies()),
              (Table{{"af_key", "listed 1"}, {"jbd2", "listed 2"}, {"ext4", "alias-listed 3"}}));
}

TEST_F(AdmissionTest, IsForTheStrongestReason) {
    EXPECT_EQ(table(PolicyBuilder().allow("ext4", "mbcache").allow_alias("crypto-*", "fs-*")),
              (Table{{"ext4", "listed 1"},
                     {"mbcache", "listed 2"},
                     {"crc32c", "alias-listed 3"},
                     {"jbd2", "dependency ext4"}}));
}

TEST_F(AdmissionTest, NamesTheFirstRule) {
    EXPECT_EQ(table(PolicyBuilder().allow("xfrm", "xfrm")), (Table{{"xfrm", "listed 1"}}));
    // The pattern that is written first, whichever of the aliases it is that it matches.
    EXPECT_EQ(table(PolicyBuilder().allow_alias("pci:v00008086d000010D3*", "pci:*").without_dependencies()),
              (Table{{"e1000e", "alias-listed 1"}}));
    EXPECT_EQ(table(PolicyBuilder().allow_alias("pci:v00008086d00001533*", "pci:*").without_dependencies()),
              (Table{{"e1000e", "alias-listed 1"}}));
    EXPECT_EQ(table(PolicyBuilder().allow_alias("pci:*", "pci:v00008086d00001533*").without_dependencies()),
              (Table{{"e1000e", "alias-listed 1"}}));
}

TEST_F(AdmissionTest, IsBecauseOfTheFirstThatBringsIt) {
    index.module("xfs").needs("crc32c").alias("fs-xfs");
    index.module("btrfs").needs("crc32c").alias("fs-btrfs");
    EXPECT_EQ(table(PolicyBuilder().allow("xfs", "btrfs"))["crc32c"], "dependency xfs");
    EXPECT_EQ(table(PolicyBuilder().allow("btrfs", "xfs"))["crc32c"], "dependency btrfs");
    EXPECT_EQ(table(PolicyBuilder().allow_alias("fs-xfs", "fs-btrfs"))["crc32c"], "dependency btrfs");
    EXPECT_EQ(table(PolicyBuilder().allow_alias("fs-btrfs").allow("xfs"))["crc32c"], "dependency xfs");
}

TEST_F(AdmissionTest, IsNotOfWhatIsDenied) {
    EXPECT_EQ(table(PolicyBuilder().allow("af_key", "xfrm").deny("af_key")), (Table{{"xfrm", "listed 2"}}));
    EXPECT_EQ(table(PolicyBuilder().allow_alias("net-*").deny("af_key")), Table{});
    EXPECT_EQ(table(PolicyBuilder().allow_alias("net-*").deny_alias("net-pf-15")), Table{});
    EXPECT_EQ(table(PolicyBuilder().allow("af_key").deny_alias("af-key")), Table{});
    EXPECT_EQ(table(PolicyBuilder().allow("ext4").deny("crc32c")), (Table{{"ext4", "listed 1"}}));
    EXPECT_EQ(table(PolicyBuilder().allow_alias("fs-*").deny_alias("crypto-*")),
              (Table{{"ext4", "alias-listed 1"}}));
}

TEST_F(AdmissionTest, IsOfAListedNameThoughNothingIsKnownOfIt) {
    EXPECT_EQ(table(PolicyBuilder().allow("out_of_tree").deny("af_key")),
              (Table{{"out_of_tree", "listed 1"}}));
}

/// One of its aliases might be denied.
TEST_F(AdmissionTest, IsNotOfAListedNameThatTheIndexHasNotWhereAliasesAreDenied) {
    EXPECT_EQ(table(PolicyBuilder().allow("out_of_tree").deny_alias("net-*")), Table{});
    NoModules none;
    EXPECT_TRUE(
        Admissions(PolicyBuilder().allow("af_key").deny_alias("net-pf-*").build(), none).all().empty());
    EXPECT_EQ(table(PolicyBuilder().allow("out_of_tree").deny_alias("out-of-*")), Table{});
}

TEST_F(AdmissionTest, IsOfWhatBringsSomethingThatDoesNotExistWhereAliasesAreDenied) {
    index.module("soft").soft_before("absent", "crc32c");
    EXPECT_EQ(table(PolicyBuilder().allow("soft").deny_alias("net-*")),
              (Table{{"crc32c", "dependency soft"}, {"soft", "listed 1"}}));
    EXPECT_EQ(table(PolicyBuilder().allow("soft").deny_alias("abs*")), (Table{{"soft", "listed 1"}}));
}

/// It brings nothing that is not brought by what is loaded: a listed module that is denied is not.
TEST_F(AdmissionTest, OfABuiltInModuleBringsNothingIfItIsDenied) {
    index.module("inside").built_in().soft_after("ptp");
    EXPECT_EQ(table(PolicyBuilder().allow("inside")),
              (Table{{"inside", "listed 1"}, {"ptp", "dependency inside"}}));
    EXPECT_EQ(table(PolicyBuilder().allow("inside").deny("inside")), Table{});
}

TEST_F(AdmissionTest, IsFoundByItsCanonicalName) {
    const Admissions admissions(PolicyBuilder().allow("af_key").build(), index);
    EXPECT_NE(admissions.find("af_key"), nullptr);
    EXPECT_EQ(admissions.find("af-key"), nullptr);
    EXPECT_EQ(admissions.find(""), nullptr);
}

TEST_F(AdmissionTest, OutlivesPolicyAndIndex) {
    std::optional<Policy> policy = PolicyBuilder().allow("af_key").allow_alias("fs-*").build();
    std::optional<FakeIndex> other = index;
    const Admissions admissions(*policy, *other);
    policy.reset();
    other.reset();
    ASSERT_NE(admissions.find("ext4"), nullptr);
    EXPECT_EQ(admissions.find("ext4")->rule, (Rule{RuleKind::allow_alias, "fs-*", "policy.toml", 2}));
    EXPECT_EQ(admissions.find("xfrm")->because_of, "af_key");
}

/// Asking for them unpacks the module's file; a policy of a thousand modules brings most of them many times,
/// and with "*" and a deny list the daemon was once not ready within ten seconds.
TEST_F(AdmissionTest, AsksForTheAliasesOfAModuleOnceAndOnlyIfTheIndexDoesNotHaveThem) {
    index.module("jbd2").alias_in_image("fs-jbd");
    struct CountingIndex : FakeIndex {
        explicit CountingIndex(const FakeIndex& other) : FakeIndex(other) {}
        const std::vector<std::string>* aliases(std::string_view name) override {
            ++asked[std::string(name)];
            return FakeIndex::aliases(name);
        }
        std::map<std::string, int> asked;
    } counting(index);
    const Policy policy = PolicyBuilder().allow("ext4", "jbd2").allow_alias("*").deny_alias("nobody").build();
    EXPECT_EQ(Admissions(policy, counting).all().size(), 8U);
    EXPECT_EQ(counting.asked["jbd2"], 1);
    EXPECT_EQ(counting.asked["ext4"], 0);
    EXPECT_EQ(
        Admissions(PolicyBuilder().allow_alias("*").deny_alias("fs-jbd").build(), counting).find("jbd2"),
        nullptr);
    EXPECT_EQ(
        Admissions(PolicyBuilder().allow_alias("*").deny_alias("fs-ext4").build(), counting).find("ext4"),
        nullptr);
}

TEST_F(AdmissionTest, TrustsNoIndexThatDoesNotTellAll) {
    struct TornIndex : FakeIndex {
        explicit TornIndex(const FakeIndex& other) : FakeIndex(other) {}
        bool
        for_each_alias(const std::function<void(std::string_view, std::string_view)>& /*visit*/) override {
            return false;
        }
    } torn(index);
    EXPECT_EQ(Admissions(PolicyBuilder().allow("ext4").deny_alias("fs-ext4").build(), torn).find("ext4"),
              nullptr);
}

/// At the kernel point it denied nothing: only a token can be asked for by that name.
TEST_F(AdmissionTest, AnAliasInDenyModulesDeniesItsModule) {
    PolicyBuilder policy;
    policy.allow("af_key", "ext4").deny("net_pf_15", "jbd2");
    const Policy fitted = policy.build().for_modules_of(index);
    EXPECT_EQ(Admissions(fitted, index).find("af_key"), nullptr);
    EXPECT_EQ(Admissions(fitted, index).find("jbd2"), nullptr);
    EXPECT_EQ(Admissions(fitted, index).find("xfrm"), nullptr);
    EXPECT_NE(Admissions(fitted, index).find("ext4"), nullptr);
}

// A list of denied modules that this kernel lacks kept out every allowed module whose aliases were not known.
TEST_F(AdmissionTest, AliasesMustBeKnownWhereAliasesAreDeniedAndNotWhereADeniedModuleIsMissing) {
    index.module("loop").aliases_unreadable();
    PolicyBuilder policy;
    policy.allow("loop").deny("af_key").deny("net_pf_15");
    EXPECT_NE(Admissions(policy.build().for_modules_of(index), index).find("loop"), nullptr);
    policy.deny_alias("net-pf-15");
    EXPECT_EQ(Admissions(policy.build().for_modules_of(index), index).find("loop"), nullptr);
}

} // namespace
} // namespace kmodguard::core
