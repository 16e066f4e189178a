// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows what comes of any two rules that meet, and of any number of them: one module with one hard and one
// soft dependency, in all combinations of what can be true of them, under all combinations of rules, compared
// with the plain reading of the rules in oracle.hpp. Then that a policy with one more rule is never less
// strict if the rule denies, nor stricter if it allows.
#include "core/decision.hpp"
#include "fake_index.hpp"
#include "oracle.hpp"
#include "policy_builder.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <string>
#include <vector>

namespace kmodguard::core {
namespace {

using test::content;
using test::decide_one_image;
using test::FakeIndex;
using test::PolicyBuilder;

/// What can be true of a dependency. Each has a module of its own, so that one policy has a rule for each.
const std::vector<std::string> states = {
    "none",     "unlisted",   "listed",        "denied",       "denied_by_alias", "missing",
    "built_in", "unreadable", "contradictory", "pinned_wrong", "pinned_right"};
const std::vector<std::string> own_images = {"good", "unreadable", "contradictory", "pinned_wrong"};

// One bit of a policy's number for each of its rules about "m".
constexpr std::size_t alias_allowed = 1;
constexpr std::size_t listed = 2;
constexpr std::size_t dependencies_on = 4;
constexpr std::size_t token_denied = 8;
constexpr std::size_t module_denied = 16;
constexpr std::size_t own_alias_denied = 32;
constexpr std::size_t audit = 64;
constexpr std::size_t policy_count = 128;

Policy make_policy(std::size_t number) {
    PolicyBuilder policy;
    for (const std::string role : {"hard_", "soft_"}) {
        policy.allow(role + "listed").deny(role + "denied").deny_alias(role + "bad-*");
        policy.pin(role + "pinned_wrong", content(9)).pin(role + "pinned_right", content(1));
    }
    policy.pin("m", content(1));
    if (number & alias_allowed) policy.allow_alias("ask-?");
    if (number & listed) policy.allow("m");
    if (!(number & dependencies_on)) policy.without_dependencies();
    if (number & token_denied) policy.deny_alias("ask_*");
    if (number & module_denied) policy.deny("m");
    if (number & own_alias_denied) policy.deny_alias("also-known-as");
    if (number & audit) policy.audit();
    return policy.build();
}

const std::vector<Policy>& policies() {
    static const std::vector<Policy> all = [] {
        std::vector<Policy> made;
        for (std::size_t number = 0; number < policy_count; ++number)
            made.push_back(make_policy(number));
        return made;
    }();
    return all;
}

/// What can be true of "m" besides its dependencies.
struct Traits {
    bool blacklisted;
    bool built_in;
    bool install_command;
    std::string image;
};

std::string add_dependency(FakeIndex& index, const std::string& role, const std::string& state) {
    const std::string name = role + state;
    if (state == "missing") return name;
    test::FakeModule& module = index.module(name);
    if (state == "denied_by_alias") module.alias(role + "bad-one");
    if (state == "built_in") module.built_in();
    if (state == "unreadable") module.unreadable();
    if (state == "contradictory") module.calls_itself("m", name);
    return name;
}

FakeIndex make_index(const std::string& hard, const std::string& soft, const Traits& traits) {
    FakeIndex index;
    test::FakeModule& module = index.module("m").alias("ask-m", "also-known-as");
    if (hard != "none") module.needs(add_dependency(index, "hard_", hard));
    if (soft != "none") module.soft_before(add_dependency(index, "soft_", soft));
    if (traits.blacklisted) module.blacklisted();
    if (traits.built_in) module.built_in();
    if (traits.install_command) module.install_command();
    if (traits.image == "unreadable") module.unreadable();
    if (traits.image == "contradictory") module.calls_itself("m", "loop");
    if (traits.image == "pinned_wrong") module.with_content(content(2));
    return index;
}

std::string description(std::size_t number, const std::string& token, const Traits& traits) {
    std::string text = "asked for " + token;
    const auto add = [&text](bool is, const char* what) {
        if (is) text += std::string(", ") + what;
    };
    add(number & alias_allowed, "alias allowed");
    add(number & listed, "listed");
    add(!(number & dependencies_on), "no dependencies");
    add(number & token_denied, "token denied");
    add(number & module_denied, "module denied");
    add(number & own_alias_denied, "own alias denied");
    add(number & audit, "audit");
    add(traits.blacklisted, "blacklisted");
    add(traits.built_in, "built in");
    add(traits.install_command, "install command");
    return text + ", image " + traits.image;
}

/// The verdicts of all policies on one index: no denying bit may add an allowance, no other take one away.
void expect_monotonic(const std::array<Verdict, policy_count>& verdicts) {
    for (std::size_t number = 0; number < policy_count; ++number) {
        for (const std::size_t rule : {token_denied, module_denied, own_alias_denied})
            ASSERT_FALSE(verdicts.at(number) == Verdict::refuse
                         && verdicts.at(number | rule) == Verdict::allow)
                << number << " and " << rule;
        for (const std::size_t rule : {alias_allowed, listed, dependencies_on})
            ASSERT_FALSE(verdicts.at(number) == Verdict::allow
                         && verdicts.at(number | rule) == Verdict::refuse)
                << number << " and " << rule;
        ASSERT_EQ(verdicts.at(number), verdicts.at(number | audit)) << "audit mode judges otherwise";
    }
}

class DecisionMatrix : public ::testing::TestWithParam<std::string> {
  protected:
    void expect_as_written(const std::string& soft, const Traits& traits) {
        FakeIndex index = make_index(GetParam(), soft, traits);
        for (const std::string token : {"ask-m", "m"}) {
            std::array<Verdict, policy_count> verdicts{};
            for (std::size_t number = 0; number < policy_count; ++number) {
                const Policy& policy = policies()[number];
                const Decision decision = decide(policy, index, token);
                verdicts.at(number) = decision.judged;
                loaded += decision.effective() == Verdict::allow;
                ++count;
                ASSERT_EQ(test::objection(policy.source(), index, decision), "")
                    << explain(decision) << "\nhard " << GetParam() << ", soft " << soft << ", "
                    << description(number, token, traits);
            }
            ASSERT_NO_FATAL_FAILURE(expect_monotonic(verdicts));
        }
    }
    std::size_t count = 0;
    std::size_t loaded = 0;
};

TEST_P(DecisionMatrix, EveryCombinationOfRulesIsDecidedAsWritten) {
    for (const std::string& soft : states) {
        for (const std::string& image : own_images) {
            // A bad image beside both dependencies says nothing new; beside either it is tried.
            if (image != "good" && GetParam() != "none" && soft != "none") continue;
            for (const bool blacklisted : {false, true})
                for (const bool built_in : {false, true})
                    for (const bool install_command : {false, true})
                        ASSERT_NO_FATAL_FAILURE(
                            expect_as_written(soft, {blacklisted, built_in, install_command, image}));
        }
    }
    EXPECT_GT(count, 20000U);
    EXPECT_GT(loaded, count / 10); // both happen, often
    EXPECT_LT(loaded, count / 10 * 9);
}

/// The same where images are seen: of the module that the policies are about, and of what it brings along.
TEST_P(DecisionMatrix, EveryImageIsDecidedAsWritten) {
    for (const std::string& soft : states) {
        for (const bool built_in : {false, true}) {
            FakeIndex index = make_index(GetParam(), soft, {false, built_in, false, "good"});
            for (const std::string& name : {std::string("m"), "hard_" + GetParam(), "soft_" + soft}) {
                const ImageFacts facts{
                    .problem = "", .name = name, .modinfo_name = name, .sha256 = content(1)};
                std::array<Verdict, policy_count> verdicts{};
                for (std::size_t number = 0; number < policy_count; ++number) {
                    const Policy& policy = policies()[number];
                    const Decision decision = decide_one_image(policy, index, facts);
                    verdicts.at(number) = decision.judged;
                    loaded += decision.judged == Verdict::allow;
                    ++count;
                    ASSERT_EQ(test::objection(policy.source(), index, facts, decision), "")
                        << "hard " << GetParam() << ", soft " << soft << ", "
                        << description(number, "image " + name, {false, built_in, false, "good"});
                }
                ASSERT_NO_FATAL_FAILURE(expect_monotonic(verdicts));
            }
        }
    }
    EXPECT_GT(loaded, count / 50);
    EXPECT_LT(loaded, count / 2);
}

INSTANTIATE_TEST_SUITE_P(HardDependency, DecisionMatrix, ::testing::ValuesIn(states),
                         [](const auto& state) { return state.param; });

TEST(DecisionMatrixAudit, LoadsExactlyWhatEnforceWouldIfEverythingWereAllowed) {
    const Policy everything = PolicyBuilder().allow("m").allow_alias("*").build();
    const std::vector<std::string> sound = {"none",   "unlisted",        "listed",
                                            "denied", "denied_by_alias", "built_in"};
    for (const std::string& hard : sound) {
        for (const std::string& soft : sound) {
            for (const bool blacklisted : {false, true}) {
                for (const bool built_in : {false, true}) {
                    FakeIndex index = make_index(hard, soft, {blacklisted, built_in, false, "good"});
                    for (const std::string token : {"ask-m", "m"}) {
                        const Decision free = decide(everything, index, token);
                        for (std::size_t number = audit; number < policy_count; ++number) {
                            const Decision audited = decide(policies()[number], index, token);
                            ASSERT_EQ(audited.loads(audited.modules[0]), free.loads(free.modules[0]));
                            if (!free.loads(free.modules[0])) continue;
                            ASSERT_EQ(audited.modules[0].chain, free.modules[0].chain);
                        }
                    }
                }
            }
        }
    }
}

} // namespace
} // namespace kmodguard::core
