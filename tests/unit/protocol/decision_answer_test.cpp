// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows that kmodctl is told exactly what the daemon decided: decisions of every kind, drawn at random, come
// out of an answer's bytes as they went in.
#include "protocol/answers.hpp"
#include "random.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace kmodguard::protocol {
namespace {

using core::Decision;
using core::ModuleDecision;
using core::Reason;
using core::Rule;
using core::RuleKind;

/// What kmodctl makes of `decision`, through the bytes of the answer.
sys::Result<Decision> transported(const Decision& decision) {
    const std::string text =
        encode(Answer{.fields = fields_of(decision), .outcome = Outcome::deny, .text = explain(decision)});
    const auto answer = parse_answer(text);
    if (!answer) return std::unexpected(answer.error());
    return decision_of(answer->fields);
}

/// Draws parts of decisions; each optional part is there about every other time.
class Draw {
  public:
    explicit Draw(test::Random& random) : random_(random) {}

    Decision decision() {
        Decision decision;
        decision.token = word();
        decision.mode = flip() ? core::Mode::audit : core::Mode::enforce;
        decision.judged = flip() ? core::Verdict::allow : core::Verdict::refuse;
        decision.reason = reason();
        decision.rule = rule();
        for (std::size_t i = below(4); i > 0; --i)
            decision.modules.push_back(module());
        return decision;
    }

  private:
    ModuleDecision module() {
        ModuleDecision module;
        module.module = word();
        module.reason = reason();
        module.rule = rule();
        module.built_in = flip();
        if (flip()) module.file = word();
        if (flip()) module.because_of = word();
        if (flip()) module.detail = word() + " " + word();
        for (std::size_t i = below(4); i > 0; --i)
            module.chain.push_back({word(), flip()});
        for (std::size_t i = below(3); i > 0; --i)
            module.chain.push_back({.module = word(), .required = false, .by_command = true});
        for (std::size_t i = below(3); i > 0; --i)
            module.commands.push_back({word(), word(), flip() ? word() : ""});
        if (flip()) module.kept_out = {static_cast<core::Hindrance>(below(4)), word(), flip() ? word() : ""};
        for (std::size_t i = below(3); i > 0; --i)
            module.omitted.push_back(word());
        module.loadable = flip();
        return module;
    }
    std::optional<Rule> rule() {
        if (flip()) return std::nullopt;
        Rule rule{static_cast<RuleKind>(below(5)), word(), "", 0};
        if (flip()) {
            rule.file = "/etc/kmodguard/" + word();
            rule.line = static_cast<std::uint32_t>(1 + below(100'000));
        }
        return rule;
    }
    Reason reason() { return static_cast<Reason>(below(static_cast<std::size_t>(Reason::not_a_name) + 1)); }
    std::string word() {
        static const std::vector<std::string> words = {"loop",     "net-pf-*",           "a b",  "OK",
                                                       "module x", "gr\xC3\xBC\xC3\x9F", "rule", "pci:v*d*"};
        return random_.one_of(words);
    }
    bool flip() { return random_.flip(); }
    std::size_t below(std::size_t end) { return random_.below(end); }
    test::Random& random_;
};

TEST(DecisionFields, RoundTripOfEveryKindOfDecision) {
    test::Random random(0, 3000);
    while (random.next_seed()) {
        const Decision decision = Draw(random).decision();
        const auto again = transported(decision);
        ASSERT_TRUE(again) << again.error().what;
        ASSERT_EQ(*again, decision) << explain(decision);
    }
}

TEST(DecisionFields, EveryReasonAndRuleKindArrives) {
    for (std::size_t i = 0; i <= static_cast<std::size_t>(Reason::not_a_name); ++i) {
        Decision decision;
        decision.token = "t";
        decision.reason = static_cast<Reason>(i);
        EXPECT_EQ(transported(decision).value().reason, decision.reason);
    }
    for (const RuleKind kind : {RuleKind::allow_module, RuleKind::allow_alias, RuleKind::deny_module,
                                RuleKind::deny_alias, RuleKind::pin}) {
        Decision decision;
        decision.rule = Rule{kind, "x", "policy.toml", 7};
        EXPECT_EQ(transported(decision).value().rule, decision.rule);
    }
}

/// A module that cannot be loaded was shown as loading, and in audit mode the whole as let pass.
TEST(DecisionFields, WhatCannotBeLoadedIsNotSaidToLoad) {
    Decision decision;
    decision.token = "kmt_inside";
    decision.mode = core::Mode::audit;
    decision.judged = core::Verdict::refuse;
    decision.reason = Reason::blacklisted;
    ModuleDecision& module = decision.modules.emplace_back();
    module.module = "kmt_inside";
    module.reason = Reason::blacklisted;
    module.loadable = false;
    const Decision again = transported(decision).value();
    EXPECT_FALSE(again.loads(again.modules.front()));
    EXPECT_EQ(again.effective(), core::Verdict::refuse);
    EXPECT_FALSE(again.audited());
}

TEST(DecisionFields, UnknownKeysOfANewerDaemonArePassedOver) {
    std::vector<Field> fields = {
        {"future", "1"}, {"token", "t"}, {"module", "m"}, {"future", "2"}, {"step", "m"}};
    const auto decision = decision_of(fields);
    ASSERT_TRUE(decision);
    EXPECT_EQ(decision->token, "t");
    ASSERT_EQ(decision->modules.size(), 1U);
    EXPECT_EQ(decision->modules[0].chain, (std::vector<core::Step>{{"m", true}}));
}

TEST(DecisionFields, UnknownReasonsAndRulesAreErrorsAndNotGuessed) {
    for (const std::vector<Field>& fields :
         {std::vector<Field>{{"reason", "because"}}, std::vector<Field>{{"rule", "allow.everything"}},
          std::vector<Field>{{"module", "m"}, {"reason", ""}},
          std::vector<Field>{{"module", "m"}, {"rule", ""}},
          std::vector<Field>{{"module", "m"}, {"kept-out-by", "the weather"}}}) {
        const auto decision = decision_of(fields);
        ASSERT_FALSE(decision) << fields.back().key;
        EXPECT_EQ(decision.error().kind, sys::ErrorKind::invalid);
    }
}

TEST(DecisionFields, NothingSaidIsARefusalInEnforceMode) {
    const Decision decision = decision_of({{"verdict", "maybe"}, {"mode", "off"}}).value();
    EXPECT_EQ(decision.judged, core::Verdict::refuse);
    EXPECT_EQ(decision.mode, core::Mode::enforce);
    EXPECT_EQ(decision.effective(), core::Verdict::refuse);
}

} // namespace
} // namespace kmodguard::protocol
