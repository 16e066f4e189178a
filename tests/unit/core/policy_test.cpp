// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows that a policy answers by the rule that was written first and knows where, that it stays whole when it
// is copied, and that names of settings and hashes survive a round trip through text.
#include "core/policy.hpp"
#include "fake_index.hpp"
#include "policy_builder.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace kmodguard::core {
namespace {

using test::content;
using test::PolicyBuilder;

constexpr std::string_view zeros = "0000000000000000000000000000000000000000000000000000000000000000";

TEST(PolicyWords, SurviveARoundTrip) {
    for (const Mode mode : {Mode::enforce, Mode::audit})
        EXPECT_EQ(mode_from(to_string(mode)), mode);
    for (const CallerAnswer answer : {CallerAnswer::refuse, CallerAnswer::pretend})
        EXPECT_EQ(answer_from(to_string(answer)), answer);
    for (const Point point : {Point::autoload, Point::kernel, Point::process, Point::guest})
        EXPECT_EQ(point_from(to_string(point)), point);
}

TEST(PolicyWords, AreThoseOfThePolicyFile) {
    EXPECT_EQ(to_string(Mode::enforce), "enforce");
    EXPECT_EQ(to_string(Mode::audit), "audit");
    EXPECT_EQ(to_string(CallerAnswer::refuse), "refuse");
    EXPECT_EQ(to_string(CallerAnswer::pretend), "pretend");
    EXPECT_EQ(to_string(Point::autoload), "autoload");
    EXPECT_EQ(to_string(Point::kernel), "kernel");
    EXPECT_EQ(to_string(Point::process), "process");
    EXPECT_EQ(to_string(Point::guest), "guest");
    EXPECT_EQ(to_string(RuleKind::allow_module), "allow.modules");
    EXPECT_EQ(to_string(RuleKind::allow_alias), "allow.aliases");
    EXPECT_EQ(to_string(RuleKind::deny_module), "deny.modules");
    EXPECT_EQ(to_string(RuleKind::deny_alias), "deny.aliases");
    EXPECT_EQ(to_string(RuleKind::pin), "pin");
}

TEST(PolicyWords, AreTakenExactly) {
    for (const std::string_view text : {"", "Enforce", "enforce ", "audi", "auditx", "0"}) {
        EXPECT_EQ(mode_from(text), std::nullopt) << text;
        EXPECT_EQ(answer_from(text), std::nullopt) << text;
        EXPECT_EQ(point_from(text), std::nullopt) << text;
    }
}

TEST(Hash, IsWrittenInLowerCaseHex) {
    Sha256 hash{};
    hash[0] = 0x0f;
    hash[1] = 0xa0;
    hash[31] = 0xff;
    const std::string text = to_hex(hash);
    EXPECT_EQ(text, "0fa0" + std::string(58, '0') + "ff");
    EXPECT_EQ(sha256_from(text), hash);
}

TEST(Hash, IsReadInEitherCase) {
    EXPECT_EQ(sha256_from("ABCDEF" + std::string(58, '0')), sha256_from("abcdef" + std::string(58, '0')));
    EXPECT_EQ(sha256_from(zeros), Sha256{});
}

TEST(Hash, IsReadFromExactly64Digits) {
    EXPECT_EQ(sha256_from(""), std::nullopt);
    EXPECT_EQ(sha256_from(zeros.substr(1)), std::nullopt);
    EXPECT_EQ(sha256_from(std::string(zeros) + "0"), std::nullopt);
    EXPECT_EQ(sha256_from(" " + std::string(zeros.substr(1))), std::nullopt);
    for (const char bad : {'g', 'G', '/', ':', '@', '`', '\0', '-', '\xff'}) {
        std::string text(zeros);
        text[0] = bad;
        EXPECT_EQ(sha256_from(text), std::nullopt) << bad;
        text[0] = '0';
        text[63] = bad;
        EXPECT_EQ(sha256_from(text), std::nullopt) << bad;
    }
}

TEST(Policy, OfNothingAllowsAndDeniesNothing) {
    const Policy policy;
    EXPECT_EQ(policy.mode(), Mode::enforce);
    EXPECT_TRUE(policy.dependencies());
    EXPECT_EQ(policy.allows_module("loop"), std::nullopt);
    EXPECT_EQ(policy.denies_module("loop"), std::nullopt);
    EXPECT_EQ(policy.allows_token("loop"), std::nullopt);
    EXPECT_EQ(policy.denies_token("loop"), std::nullopt);
    EXPECT_EQ(policy.pattern_allowing("loop"), std::nullopt);
    EXPECT_EQ(policy.denies_aliases({"loop"}), std::nullopt);
    EXPECT_FALSE(policy.has_allow_aliases());
    EXPECT_FALSE(policy.has_deny_aliases());
    EXPECT_TRUE(policy.pins("loop").empty());
}

TEST(Policy, KeepsTheFourListsApart) {
    const Policy policy = PolicyBuilder()
                              .allow("a_module")
                              .allow_alias("a-alias")
                              .deny("d_module")
                              .deny_alias("d-alias")
                              .build();
    EXPECT_TRUE(policy.allows_module("a_module") && policy.denies_module("d_module"));
    EXPECT_TRUE(policy.allows_token("a-alias") && policy.denies_token("d-alias"));
    EXPECT_TRUE(policy.has_allow_aliases() && policy.has_deny_aliases());
    EXPECT_FALSE(policy.allows_module("d_module") || policy.denies_module("a_module"));
    EXPECT_FALSE(policy.allows_token("d-alias") || policy.denies_token("a-alias"));
    EXPECT_FALSE(policy.allows_token("a_module") || policy.denies_token("d_module"));
    EXPECT_FALSE(policy.allows_module("a-alias") || policy.denies_module("d-alias"));
}

TEST(Policy, KnowsFileAndLineOfTheRule) {
    PolicySource source;
    source.files = {"policy.toml", "policy.d/10-site.toml"};
    source.allow_modules = {{"loop", {.file = 0, .line = 4}}, {"dm_mod", {.file = 1, .line = 2}}};
    source.deny_aliases = {{"net-pf-*", {.file = 1, .line = 9}}};
    const Policy policy(source);
    EXPECT_EQ(policy.allows_module("loop"), (Rule{RuleKind::allow_module, "loop", "policy.toml", 4}));
    EXPECT_EQ(policy.allows_module("dm_mod"),
              (Rule{RuleKind::allow_module, "dm_mod", "policy.d/10-site.toml", 2}));
    EXPECT_EQ(policy.denies_token("net_pf_15"),
              (Rule{RuleKind::deny_alias, "net-pf-*", "policy.d/10-site.toml", 9}));
}

TEST(Policy, ShowsARunTimeRuleWithoutAFile) {
    PolicySource source;
    source.files = {"policy.toml"};
    source.allow_modules = {{"loop", {.file = 0, .line = 0}}};
    source.deny_modules = {{"evil", {.file = 7, .line = 3}}}; // no such file
    const Policy policy(source);
    EXPECT_EQ(policy.allows_module("loop"), (Rule{RuleKind::allow_module, "loop", "", 0}));
    EXPECT_EQ(policy.denies_module("evil"), (Rule{RuleKind::deny_module, "evil", "", 0}));
}

TEST(Policy, CitesTheFirstOfTwoEqualRules) {
    const Policy policy = PolicyBuilder().allow("loop", "loop").deny_alias("x*", "x*").build();
    EXPECT_EQ(policy.allows_module("loop").value().line, 1U);
    EXPECT_EQ(policy.denies_token("xy").value().line, 3U);
}

TEST(Policy, AllowsAndDeniesByAModulesOwnAliases) {
    const Policy policy = PolicyBuilder().allow_alias("pci:*").deny_alias("net-pf-15").build();
    EXPECT_EQ(policy.pattern_allowing("pci:v1d*"), 0U);
    EXPECT_EQ(policy.denies_aliases({"usb:*", "net_pf_15"}).value().text, "net-pf-15");
    EXPECT_EQ(policy.pattern_allowing("usb:*"), std::nullopt);
    EXPECT_EQ(policy.denies_aliases({}), std::nullopt);
}

TEST(Policy, HoldsSeveralPinsOfOneModule) {
    const Policy policy =
        PolicyBuilder().pin("a", content(1)).pin("b", content(2)).pin("a", content(3)).build();
    std::vector<Sha256> of_a;
    for (const auto& pin : policy.pins("a"))
        of_a.push_back(pin.sha256);
    std::ranges::sort(of_a);
    EXPECT_EQ(of_a, (std::vector{content(1), content(3)}));
    ASSERT_EQ(policy.pins("b").size(), 1U);
    EXPECT_EQ(policy.pins("b")[0].origin.line, 2U);
    EXPECT_TRUE(policy.pins("c").empty());
}

/// Long enough that no string keeps it in itself.
const std::string long_name(40, 'm');
const std::string long_alias(60, 'a');

void expect_whole(const Policy& policy) {
    EXPECT_EQ(policy.allows_module(long_name).value().text, long_name);
    EXPECT_EQ(policy.denies_module("short").value().text, "short");
    EXPECT_EQ(policy.allows_token(long_alias).value().text, long_alias);
    EXPECT_EQ(policy.denies_token("d1").value().text, "d*");
    ASSERT_EQ(policy.pins(long_name).size(), 1U);
    EXPECT_EQ(policy.pins(long_name)[0].sha256, content(5));
}

std::unique_ptr<Policy> whole_policy() {
    return std::make_unique<Policy>(PolicyBuilder()
                                        .allow(long_name)
                                        .deny("short")
                                        .allow_alias(long_alias)
                                        .deny_alias("d*")
                                        .pin(long_name, content(5))
                                        .build());
}

TEST(Policy, CopiedOutlivesTheOriginal) {
    auto original = whole_policy();
    const Policy copy(*original);
    Policy assigned;
    assigned = *original;
    original.reset();
    expect_whole(copy);
    expect_whole(assigned);
}

TEST(Policy, MovedStaysWhole) {
    auto original = whole_policy();
    const Policy moved(std::move(*original));
    original.reset();
    expect_whole(moved);
}

TEST(Policy, KeepsTheSourceForListing) {
    PolicyBuilder builder;
    builder.allow("b", "a", "b");
    builder.source().generated_at = "2026-11-21T00:00:00Z";
    const Policy policy = builder.build();
    ASSERT_EQ(policy.source().allow_modules.size(), 3U); // as written: order and repetition
    EXPECT_EQ(policy.source().allow_modules[0].text, "b");
    EXPECT_EQ(policy.source().generated_at, "2026-11-21T00:00:00Z");
}

} // namespace
} // namespace kmodguard::core
