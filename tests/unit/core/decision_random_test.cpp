// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows the same as decision_matrix_test.cpp where more than three modules meet: random indexes with webs of
// hard and soft dependencies, shared aliases and faults, under random policies (fixed seeds). Adds what only
// shows there: what the autoload point admits, the other points admit step by step.
#include "core/admission.hpp"
#include "core/decision.hpp"
#include "fake_index.hpp"
#include "oracle.hpp"
#include "policy_builder.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <random>
#include <string>
#include <vector>

namespace kmodguard::core {
namespace {

using test::content;
using test::FakeIndex;

constexpr int module_count = 8;
const std::vector<std::string> tokens = {"fs-a", "net-pf-1", "net-pf-2", "pci:v1d1", "m0",
                                         "m5",   "m-6",      "m7",       "nobody"};
const std::vector<std::string> own_aliases = {"fs-a",     "net-pf-1", "net_pf_2",
                                              "pci:v1d*", "pci:v*",   "net-pf-[12]"};
const std::vector<std::string> some_patterns = {"fs-*",     "net-pf-1", "net_pf_?",    "pci:*",
                                                "pci:v1d*", "m-6",      "net-pf-[12]", "m[57]"};

class Dice {
  public:
    explicit Dice(unsigned seed) : random_(seed) {}
    bool once_in(int n) { return below(n) == 0; }
    int below(int n) { return std::uniform_int_distribution<int>(0, n - 1)(random_); }
    const std::string& one_of(const std::vector<std::string>& texts) {
        return texts[static_cast<std::size_t>(below(static_cast<int>(texts.size())))];
    }
    std::string module() { return "m" + std::to_string(below(module_count)); }

  private:
    std::mt19937 random_;
};

/// Hard dependencies go to lower numbers and are closed, as depmod writes them; soft ones go anywhere.
FakeIndex random_index(Dice& dice) {
    FakeIndex index;
    for (int number = 0; number < module_count; ++number) {
        const std::string name = "m" + std::to_string(number);
        if (dice.once_in(12)) continue; // depended on, and missing
        test::FakeModule& module = index.module(name);
        while (dice.once_in(2))
            module.alias(dice.one_of(own_aliases));
        if (dice.once_in(10)) module.alias_in_image(dice.one_of(own_aliases));
        if (dice.once_in(10)) module.alias_in_index(dice.one_of(own_aliases));
        if (dice.once_in(20)) module.aliases_unreadable();
        if (dice.once_in(10)) module.blacklisted();
        if (dice.once_in(12)) module.install_command();
        if (dice.once_in(14)) module.unreadable();
        if (dice.once_in(14)) module.calls_itself(name, "m0");
        if (dice.once_in(4)) module.with_content(content(2));
        while (dice.once_in(3))
            module.soft_before(dice.module());
        while (dice.once_in(4))
            module.soft_after(dice.module());
        if (dice.once_in(10)) {
            module.built_in();
            continue;
        }
        test::Names needed;
        for (int other = 0; other < number; ++other) {
            if (!dice.once_in(5)) continue;
            const std::string dependency = "m" + std::to_string(other);
            needed.insert(dependency);
            if (const ModuleRecord* record = index.find(dependency))
                needed.insert(record->dependencies.begin(), record->dependencies.end());
        }
        for (const std::string& dependency : needed)
            module.needs(dependency);
    }
    if (dice.once_in(4)) index.configured_alias(dice.one_of(own_aliases), dice.module());
    return index;
}

PolicySource random_policy(Dice& dice) {
    PolicySource policy;
    policy.dependencies = !dice.once_in(3);
    policy.mode = dice.once_in(5) ? Mode::audit : Mode::enforce;
    while (!dice.once_in(5))
        policy.allow_modules.push_back({dice.module(), {}});
    while (dice.once_in(2))
        policy.allow_aliases.push_back({dice.one_of(some_patterns), {}});
    while (dice.once_in(4))
        policy.deny_modules.push_back({dice.module(), {}});
    while (dice.once_in(6))
        policy.deny_aliases.push_back({dice.one_of(some_patterns), {}});
    while (dice.once_in(3))
        policy.pins.push_back({dice.module(), content(dice.once_in(4) ? 2 : 1), {}});
    return policy;
}

PolicySource with_one_more_denial(PolicySource policy, Dice& dice) {
    if (dice.once_in(2))
        policy.deny_modules.push_back({dice.module(), {}});
    else
        policy.deny_aliases.push_back({dice.one_of(some_patterns), {}});
    return policy;
}

PolicySource with_one_more_permission(PolicySource policy, Dice& dice) {
    const int kind = dice.below(3);
    if (kind == 0) policy.allow_modules.push_back({dice.module(), {}});
    if (kind == 1) policy.allow_aliases.push_back({dice.one_of(some_patterns), {}});
    if (kind == 2) policy.dependencies = true;
    return policy;
}

ImageFacts random_image(Dice& dice) {
    ImageFacts facts;
    if (dice.once_in(10)) facts.problem = "cut short";
    facts.name = dice.module();
    if (!dice.once_in(4)) facts.modinfo_name = dice.once_in(10) ? dice.module() : facts.name;
    if (!dice.once_in(4)) facts.sha256 = content(dice.once_in(3) ? 2 : 1);
    return facts;
}

constexpr int rounds = 3000;

TEST(DecisionRandom, ATokenIsDecidedAsWritten) {
    Dice dice(20261121);
    int loaded = 0;
    for (int round = 0; round < rounds; ++round) {
        FakeIndex index = random_index(dice);
        const PolicySource source = random_policy(dice);
        const Policy policy(source);
        for (const std::string& token : tokens) {
            const Decision decision = decide(policy, index, {.token = token});
            loaded += decision.judged == Verdict::allow;
            ASSERT_EQ(test::objection(source, index, decision), "")
                << "round " << round << ": " << explain(decision);
        }
    }
    EXPECT_GT(loaded, rounds);
    EXPECT_LT(loaded, rounds * 7);
}

TEST(DecisionRandom, AnImageIsDecidedAsWritten) {
    Dice dice(15);
    int loaded = 0;
    for (int round = 0; round < rounds; ++round) {
        FakeIndex index = random_index(dice);
        const PolicySource source = random_policy(dice);
        const Policy policy(source);
        for (int i = 0; i < 6; ++i) {
            const ImageFacts facts = random_image(dice);
            const Decision decision = decide(policy, index, {.token = "", .image = facts});
            loaded += decision.judged == Verdict::allow;
            ASSERT_EQ(test::objection(source, index, facts, decision), "") << "round " << round;
        }
    }
    EXPECT_GT(loaded, rounds);
    EXPECT_LT(loaded, rounds * 5);
}

/// What an enforcement point that knows names alone is told.
TEST(DecisionRandom, TheTableOfNamesAdmitsWhatAnImageOfThatNameIsAllowed) {
    Dice dice(5);
    int admitted = 0;
    for (int round = 0; round < rounds; ++round) {
        FakeIndex index = random_index(dice);
        PolicySource source = random_policy(dice);
        source.pins.clear(); // these are about content
        const Policy policy(source);
        const Admissions admissions(policy, index);
        for (int number = 0; number <= module_count; ++number) {
            const std::string name = "m" + std::to_string(number);
            const ImageFacts facts{.problem = "", .name = name, .modinfo_name = name};
            const Decision decision = decide(policy, index, {.token = "", .image = facts});
            ASSERT_EQ(decision, decide_image(policy, index, admissions, facts));
            const Admission* admission = admissions.find(name);
            ASSERT_EQ(admission != nullptr, decision.judged == Verdict::allow) << explain(decision);
            admitted += admission != nullptr;
        }
        for (const auto& [name, admission] : admissions.all())
            ASSERT_EQ(admissions.find(name), &admission);
    }
    EXPECT_GT(admitted, rounds);
    EXPECT_LT(admitted, rounds * module_count);
}

/// Compares the verdicts, and what loads, before and after one more rule. `stricter` may only take away.
void expect_only_less(const PolicySource& looser, const PolicySource& stricter, FakeIndex& index,
                      Dice& dice) {
    const Policy loose(looser);
    const Policy strict(stricter);
    for (const std::string& token : tokens) {
        const Decision more = decide(loose, index, {.token = token});
        const Decision less = decide(strict, index, {.token = token});
        ASSERT_FALSE(less.judged == Verdict::allow && more.judged == Verdict::refuse) << explain(less);
        for (std::size_t i = 0; i < less.modules.size(); ++i)
            ASSERT_FALSE(less.modules[i].verdict() == Verdict::allow
                         && more.modules[i].verdict() == Verdict::refuse)
                << explain(less);
    }
    const ImageFacts facts = random_image(dice);
    const Decision more = decide(loose, index, {.token = "", .image = facts});
    const Decision less = decide(strict, index, {.token = "", .image = facts});
    ASSERT_FALSE(less.judged == Verdict::allow && more.judged == Verdict::refuse) << explain(less);
}

TEST(DecisionRandom, OneMoreDenialNeverAllowsWhatWasRefused) {
    Dice dice(1);
    for (int round = 0; round < rounds; ++round) {
        FakeIndex index = random_index(dice);
        const PolicySource source = random_policy(dice);
        ASSERT_NO_FATAL_FAILURE(expect_only_less(source, with_one_more_denial(source, dice), index, dice));
    }
}

TEST(DecisionRandom, OneMorePermissionNeverRefusesWhatWasAllowed) {
    Dice dice(2);
    for (int round = 0; round < rounds; ++round) {
        FakeIndex index = random_index(dice);
        const PolicySource source = random_policy(dice);
        ASSERT_NO_FATAL_FAILURE(
            expect_only_less(with_one_more_permission(source, dice), source, index, dice));
    }
}

TEST(DecisionRandom, WhatALoadedModuleIsMadeOfIsNeverDenied) {
    Dice dice(3);
    int steps = 0;
    for (int round = 0; round < rounds; ++round) {
        FakeIndex index = random_index(dice);
        PolicySource source = random_policy(dice);
        source.mode = Mode::enforce;
        const Policy policy(source);
        for (const std::string& token : tokens) {
            const Decision decision = decide(policy, index, {.token = token});
            for (const ModuleDecision& module : decision.modules) {
                if (!decision.loads(module)) continue;
                ASSERT_EQ(policy.denies_token(token), std::nullopt);
                for (const Step& step : module.chain) {
                    ++steps;
                    ASSERT_EQ(policy.denies_module(step.module), std::nullopt) << explain(decision);
                    ASSERT_EQ(policy.denies_aliases(index.aliases(step.module)), std::nullopt)
                        << explain(decision);
                    const bool is_listed = policy.allows_module(step.module).has_value();
                    ASSERT_TRUE(is_listed || source.dependencies || step.module == module.module)
                        << explain(decision);
                }
            }
        }
    }
    EXPECT_GT(steps, rounds);
}

/// Of modules that the kernel point admits by themselves: which aliases admit a token, and which an image, is
/// not the same question.
TEST(DecisionRandom, WhatAutoloadBringsForAnAdmittedModuleTheKernelPointAdmits) {
    Dice dice(4);
    int of_listed = 0;
    int of_others = 0;
    for (int round = 0; round < rounds; ++round) {
        FakeIndex index = random_index(dice);
        const Policy policy(random_policy(dice));
        if (policy.mode() == Mode::audit) continue;
        const Admissions admissions(policy, index);
        for (const std::string& token : tokens) {
            const Decision decision = decide(policy, index, {.token = token});
            for (const ModuleDecision& module : decision.modules) {
                if (!decision.loads(module)) continue;
                const Admission* admission = admissions.find(module.module);
                if (module.reason == Reason::listed) {
                    ASSERT_NE(admission, nullptr);
                }
                if (admission == nullptr || admission->reason == Reason::dependency) continue;
                for (const Step& step : module.chain) {
                    const ModuleRecord* record = index.find(step.module);
                    if (record == nullptr) continue;
                    ++(module.reason == Reason::listed ? of_listed : of_others);
                    const Decision at_kernel =
                        decide_image(policy, index, admissions, index.image(*record, true));
                    ASSERT_EQ(at_kernel.judged, Verdict::allow) << explain(decision) << "\n"
                                                                << explain(at_kernel);
                }
            }
        }
    }
    EXPECT_GT(of_listed, rounds);
    EXPECT_GT(of_others, rounds / 10);
}

} // namespace
} // namespace kmodguard::core
