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
#include "random.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <string>
#include <vector>

namespace kmodguard::core {
namespace {

using test::content;
using test::decide_one_image;
using test::FakeIndex;
using test::Random;

constexpr int module_count = 8;
const std::vector<std::string> tokens = {"fs-a", "net-pf-1", "net-pf-2", "pci:v1d1", "m0",
                                         "m5",   "m-6",      "m7",       "nobody"};
const std::vector<std::string> own_aliases = {"fs-a",     "net-pf-1", "net_pf_2",
                                              "pci:v1d*", "pci:v*",   "net-pf-[12]"};
const std::vector<std::string> some_patterns = {"fs-*",     "net-pf-1", "net_pf_?",    "pci:*",
                                                "pci:v1d*", "m-6",      "net-pf-[12]", "m[57]"};

std::string a_module(Random& random) {
    return "m" + std::to_string(random.below(module_count));
}

/// Hard dependencies go to lower numbers and are closed, as depmod writes them; soft ones go anywhere.
FakeIndex random_index(Random& random) {
    FakeIndex index;
    for (int number = 0; number < module_count; ++number) {
        const std::string name = "m" + std::to_string(number);
        if (random.once_in(12)) continue; // depended on, and missing
        test::FakeModule& module = index.module(name);
        while (random.once_in(2))
            module.alias(random.one_of(own_aliases));
        if (random.once_in(10)) module.alias_in_image(random.one_of(own_aliases));
        if (random.once_in(10)) module.alias_in_index(random.one_of(own_aliases));
        if (random.once_in(20)) module.aliases_unreadable();
        if (random.once_in(10)) module.blacklisted();
        if (random.once_in(12)) module.install_command();
        if (random.once_in(14)) module.unreadable();
        if (random.once_in(14)) module.calls_itself(name, "m0");
        if (random.once_in(4)) module.with_content(content(2));
        while (random.once_in(3))
            module.soft_before(a_module(random));
        while (random.once_in(4))
            module.soft_after(a_module(random));
        if (random.once_in(10)) {
            module.built_in();
            continue;
        }
        test::Names needed;
        for (int other = 0; other < number; ++other) {
            if (!random.once_in(5)) continue;
            const std::string dependency = "m" + std::to_string(other);
            needed.insert(dependency);
            if (const ModuleRecord* record = index.find(dependency))
                needed.insert(record->dependencies.begin(), record->dependencies.end());
        }
        for (const std::string& dependency : needed)
            module.needs(dependency);
    }
    if (random.once_in(4)) index.configured_alias(random.one_of(own_aliases), a_module(random));
    return index;
}

PolicySource random_policy(Random& random) {
    PolicySource policy;
    policy.dependencies = !random.once_in(3);
    policy.mode = random.once_in(5) ? Mode::audit : Mode::enforce;
    while (!random.once_in(5))
        policy.allow_modules.push_back({a_module(random), {}});
    while (random.once_in(2))
        policy.allow_aliases.push_back({random.one_of(some_patterns), {}});
    while (random.once_in(4))
        policy.deny_modules.push_back({a_module(random), {}});
    while (random.once_in(6))
        policy.deny_aliases.push_back({random.one_of(some_patterns), {}});
    while (random.once_in(3))
        policy.pins.push_back({a_module(random), content(random.once_in(4) ? 2 : 1), {}});
    return policy;
}

PolicySource with_one_more_denial(PolicySource policy, Random& random) {
    if (random.once_in(2))
        policy.deny_modules.push_back({a_module(random), {}});
    else
        policy.deny_aliases.push_back({random.one_of(some_patterns), {}});
    return policy;
}

PolicySource with_one_more_permission(PolicySource policy, Random& random) {
    const std::size_t kind = random.below(3);
    if (kind == 0) policy.allow_modules.push_back({a_module(random), {}});
    if (kind == 1) policy.allow_aliases.push_back({random.one_of(some_patterns), {}});
    if (kind == 2) policy.dependencies = true;
    return policy;
}

ImageFacts random_image(Random& random) {
    ImageFacts facts;
    if (random.once_in(10)) facts.problem = "cut short";
    facts.name = a_module(random);
    if (!random.once_in(4)) facts.modinfo_name = random.once_in(10) ? a_module(random) : facts.name;
    if (!random.once_in(4)) facts.sha256 = content(random.once_in(3) ? 2 : 1);
    if (random.once_in(3)) facts.aliases.emplace();
    while (facts.aliases && random.once_in(2))
        facts.aliases->push_back(random.one_of(own_aliases));
    return facts;
}

constexpr unsigned rounds = 3000;

TEST(DecisionRandom, ATokenIsDecidedAsWritten) {
    Random random(20261121, rounds);
    int loaded = 0;
    while (random.next_round()) {
        FakeIndex index = random_index(random);
        const PolicySource source = random_policy(random);
        const Policy policy(source);
        for (const std::string& token : tokens) {
            const Decision decision = decide(policy, index, token);
            loaded += decision.judged == Verdict::allow;
            ASSERT_EQ(test::objection(source, index, decision), "") << explain(decision);
        }
    }
    if (random.is_cut_short()) return;
    EXPECT_GT(loaded, random.rounds());
    EXPECT_LT(loaded, random.rounds() * 7);
}

TEST(DecisionRandom, AnImageIsDecidedAsWritten) {
    Random random(15, rounds);
    int loaded = 0;
    while (random.next_round()) {
        FakeIndex index = random_index(random);
        const PolicySource source = random_policy(random);
        const Policy policy(source);
        for (int i = 0; i < 6; ++i) {
            const ImageFacts facts = random_image(random);
            const Decision decision = decide_one_image(policy, index, facts);
            loaded += decision.judged == Verdict::allow;
            ASSERT_EQ(test::objection(source, index, facts, decision), "");
        }
    }
    if (random.is_cut_short()) return;
    EXPECT_GT(loaded, random.rounds());
    EXPECT_LT(loaded, random.rounds() * 5);
}

/// What an enforcement point that knows names alone is told.
TEST(DecisionRandom, TheTableOfNamesAdmitsWhatAnImageOfThatNameIsAllowed) {
    Random random(5, rounds);
    int admitted = 0;
    while (random.next_round()) {
        FakeIndex index = random_index(random);
        PolicySource source = random_policy(random);
        source.pins.clear(); // these are about content
        const Policy policy(source);
        const Admissions admissions(policy, index);
        for (int number = 0; number <= module_count; ++number) {
            const std::string name = "m" + std::to_string(number);
            const ImageFacts facts{.problem = "", .name = name, .modinfo_name = name};
            const Decision decision = decide_one_image(policy, index, facts);
            ASSERT_EQ(decision, decide_image(policy, index, admissions, facts));
            const Admission* admission = admissions.find(name);
            ASSERT_EQ(admission != nullptr, decision.judged == Verdict::allow) << explain(decision);
            admitted += admission != nullptr;
        }
        for (const auto& [name, admission] : admissions.all())
            ASSERT_EQ(admissions.find(name), &admission);
    }
    if (random.is_cut_short()) return;
    EXPECT_GT(admitted, random.rounds());
    EXPECT_LT(admitted, random.rounds() * module_count);
}

/// Compares the verdicts, and what loads, before and after one more rule. `stricter` may only take away.
void expect_only_less(const PolicySource& looser, const PolicySource& stricter, FakeIndex& index,
                      Random& random) {
    const Policy loose(looser);
    const Policy strict(stricter);
    for (const std::string& token : tokens) {
        const Decision more = decide(loose, index, token);
        const Decision less = decide(strict, index, token);
        ASSERT_FALSE(less.judged == Verdict::allow && more.judged == Verdict::refuse) << explain(less);
        for (std::size_t i = 0; i < less.modules.size(); ++i)
            ASSERT_FALSE(less.modules[i].verdict() == Verdict::allow
                         && more.modules[i].verdict() == Verdict::refuse)
                << explain(less);
    }
    const ImageFacts facts = random_image(random);
    const Decision more = decide_one_image(loose, index, facts);
    const Decision less = decide_one_image(strict, index, facts);
    ASSERT_FALSE(less.judged == Verdict::allow && more.judged == Verdict::refuse) << explain(less);
}

TEST(DecisionRandom, OneMoreDenialNeverAllowsWhatWasRefused) {
    Random random(1, rounds);
    while (random.next_round()) {
        FakeIndex index = random_index(random);
        const PolicySource source = random_policy(random);
        ASSERT_NO_FATAL_FAILURE(
            expect_only_less(source, with_one_more_denial(source, random), index, random));
    }
}

TEST(DecisionRandom, OneMorePermissionNeverRefusesWhatWasAllowed) {
    Random random(2, rounds);
    while (random.next_round()) {
        FakeIndex index = random_index(random);
        const PolicySource source = random_policy(random);
        ASSERT_NO_FATAL_FAILURE(
            expect_only_less(with_one_more_permission(source, random), source, index, random));
    }
}

TEST(DecisionRandom, WhatALoadedModuleIsMadeOfIsNeverDenied) {
    Random random(3, rounds);
    int steps = 0;
    while (random.next_round()) {
        FakeIndex index = random_index(random);
        PolicySource source = random_policy(random);
        source.mode = Mode::enforce;
        const Policy policy(source);
        for (const std::string& token : tokens) {
            const Decision decision = decide(policy, index, token);
            for (const ModuleDecision& module : decision.modules) {
                if (!decision.loads(module)) continue;
                ASSERT_EQ(policy.denies_token(token), std::nullopt);
                for (const Step& step : module.chain) {
                    ++steps;
                    ASSERT_EQ(policy.denies_module(step.module), std::nullopt) << explain(decision);
                    const auto* aliases = index.aliases(step.module);
                    ASSERT_TRUE(aliases == nullptr || !policy.denies_aliases(*aliases)) << explain(decision);
                    const bool is_listed = policy.allows_module(step.module).has_value();
                    ASSERT_TRUE(is_listed || source.dependencies || step.module == module.module)
                        << explain(decision);
                }
            }
        }
    }
    if (random.is_cut_short()) return;
    EXPECT_GT(steps, random.rounds());
}

/// Of modules that the kernel point admits by themselves: which aliases admit a token, and which an image, is
/// not the same question.
TEST(DecisionRandom, WhatAutoloadBringsForAnAdmittedModuleTheKernelPointAdmits) {
    Random random(4, rounds);
    int of_listed = 0;
    int of_others = 0;
    while (random.next_round()) {
        FakeIndex index = random_index(random);
        const Policy policy(random_policy(random));
        if (policy.mode() == Mode::audit) continue;
        const Admissions admissions(policy, index);
        for (const std::string& token : tokens) {
            const Decision decision = decide(policy, index, token);
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
    if (random.is_cut_short()) return;
    EXPECT_GT(of_listed, random.rounds());
    EXPECT_GT(of_others, random.rounds() / 10);
}

} // namespace
} // namespace kmodguard::core
