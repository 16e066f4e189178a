// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows that every decision can be told to a person in one printable sentence that has a subject, a reason
// and, where a rule decided, its file and line; and that programs can read back what they write.
#include "core/decision.hpp"
#include "core/names.hpp"

#include <gtest/gtest.h>

#include <optional>
#include <set>
#include <string>
#include <vector>

namespace kmodguard::core {
namespace {

const std::vector<Reason> allowing = {Reason::listed, Reason::alias_listed, Reason::dependency,
                                      Reason::built_in, Reason::already_loaded};
const std::vector<Reason> refusing = {
    Reason::not_listed,          Reason::no_policy,           Reason::denied_token,
    Reason::denied_module,       Reason::denied_alias,        Reason::denied_dependency,
    Reason::unlisted_dependency, Reason::missing_dependency,  Reason::blacklisted,
    Reason::unreadable_image,    Reason::contradictory_image, Reason::pin_mismatch,
    Reason::no_such_module,      Reason::not_a_module,        Reason::not_a_name};

std::vector<Reason> all_reasons() {
    std::vector<Reason> all = allowing;
    all.insert(all.end(), refusing.begin(), refusing.end());
    return all;
}

const Rule rule_17{RuleKind::deny_module, "evil", "/etc/kmodguard/policy.toml", 17};

ModuleDecision judged(const std::string& module, Reason reason) {
    ModuleDecision decision;
    decision.module = module;
    decision.reason = reason;
    return decision;
}

/// As decide() puts it together for a single module.
Decision whole(const ModuleDecision& module) {
    Decision decision;
    decision.token = "token";
    decision.judged = module.verdict();
    decision.reason = module.reason;
    decision.rule = module.rule;
    decision.modules = {module};
    return decision;
}

bool is_shown_safely(const std::string& text) {
    return !text.empty() && printable(text, 100000) == text;
}

TEST(ReasonWords, SurviveARoundTripAndDiffer) {
    std::set<std::string_view> seen;
    for (const Reason reason : all_reasons()) {
        EXPECT_EQ(reason_from(to_string(reason)), reason);
        EXPECT_TRUE(seen.insert(to_string(reason)).second) << to_string(reason);
    }
    EXPECT_EQ(seen.size(), all_reasons().size());
}

TEST(ReasonWords, AreThoseThatProgramsRead) {
    EXPECT_EQ(to_string(Reason::listed), "listed");
    EXPECT_EQ(to_string(Reason::built_in), "built-in");
    EXPECT_EQ(to_string(Reason::not_listed), "not-listed");
    EXPECT_EQ(to_string(Reason::denied_dependency), "denied-dependency");
    EXPECT_EQ(to_string(Reason::pin_mismatch), "pin-mismatch");
    EXPECT_EQ(to_string(Reason::not_a_name), "not-a-name");
}

TEST(ReasonWords, AreTakenExactly) {
    for (const std::string_view text : {"", "Listed", "listed ", "not_listed", "not-", "refuse"})
        EXPECT_EQ(reason_from(text), std::nullopt) << text;
}

TEST(VerdictWords, SurviveARoundTrip) {
    EXPECT_EQ(to_string(Verdict::allow), "allow");
    EXPECT_EQ(to_string(Verdict::refuse), "refuse");
    EXPECT_EQ(verdict_from("allow"), Verdict::allow);
    EXPECT_EQ(verdict_from("refuse"), Verdict::refuse);
    for (const std::string_view text : {"", "Allow", "allowed", "deny", "refuse "})
        EXPECT_EQ(verdict_from(text), std::nullopt) << text;
}

TEST(Verdict, FollowsFromTheReason) {
    for (const Reason reason : allowing)
        EXPECT_EQ(verdict_of(reason), Verdict::allow) << to_string(reason);
    for (const Reason reason : refusing)
        EXPECT_EQ(verdict_of(reason), Verdict::refuse) << to_string(reason);
}

TEST(Explanation, HasAnotherSentenceForEveryReason) {
    std::set<std::string> seen;
    for (const Reason reason : all_reasons()) {
        const std::string sentence = explain(whole(judged("loop", reason)));
        const bool allowed = verdict_of(reason) == Verdict::allow;
        EXPECT_TRUE(sentence.starts_with(allowed ? "allowed: loop " : "refused: loop ")) << sentence;
        EXPECT_TRUE(is_shown_safely(sentence));
        EXPECT_GT(sentence.size(), std::string("refused: loop is").size()) << sentence;
        EXPECT_TRUE(seen.insert(sentence).second) << sentence;
    }
}

TEST(Explanation, ReadsAsASentence) {
    EXPECT_EQ(explain(whole(judged("af_key", Reason::not_listed))),
              "refused: af_key is not on the allow list");
    ModuleDecision module = judged("m", Reason::denied_dependency);
    module.because_of = "evil";
    module.rule = rule_17;
    EXPECT_EQ(explain(whole(module)),
              "refused: m would pull in a denied dependency: evil, by deny.modules \"evil\" "
              "(/etc/kmodguard/policy.toml:17)");
}

TEST(Explanation, CitesTheRuleWithFileAndLineForEveryReason) {
    for (const Reason reason : all_reasons()) {
        ModuleDecision module = judged("loop", reason);
        module.rule = rule_17;
        EXPECT_TRUE(
            explain(whole(module)).ends_with("by deny.modules \"evil\" (/etc/kmodguard/policy.toml:17)"));
    }
}

TEST(Explanation, DescribesEachKindOfRule) {
    EXPECT_EQ(describe({RuleKind::allow_module, "loop", "p.toml", 3}), "allow.modules \"loop\" (p.toml:3)");
    EXPECT_EQ(describe({RuleKind::allow_alias, "fs-*", "p.toml", 4}), "allow.aliases \"fs-*\" (p.toml:4)");
    EXPECT_EQ(describe({RuleKind::deny_module, "a", "p.toml", 5}), "deny.modules \"a\" (p.toml:5)");
    EXPECT_EQ(describe({RuleKind::deny_alias, "b", "p.toml", 6}), "deny.aliases \"b\" (p.toml:6)");
    EXPECT_EQ(describe({RuleKind::pin, "e1000e", "p.toml", 7}), "pin \"e1000e\" (p.toml:7)");
}

TEST(Explanation, SaysThatARunTimeRuleIsNotSaved) {
    EXPECT_EQ(describe({RuleKind::allow_module, "loop", "", 0}),
              "allow.modules \"loop\" (given at run time, not saved)");
}

TEST(Explanation, GivesTheDetailOfAnImage) {
    ModuleDecision module = judged("m", Reason::unreadable_image);
    module.because_of = "hard";
    module.detail = "not an ELF file";
    EXPECT_EQ(explain(whole(module)),
              "refused: m has an image that cannot be judged: hard (not an ELF file)");
}

TEST(Explanation, NamesTheModuleThatNeedsADependency) {
    ModuleDecision module = judged("crc16", Reason::dependency);
    module.because_of = "ext4";
    EXPECT_EQ(explain(whole(module)), "allowed: crc16 is a dependency of an allowed module, ext4");
}

TEST(Explanation, TellsOfEveryModuleOfAToken) {
    Decision decision = whole(judged("a", Reason::listed));
    decision.modules.push_back(judged("b", Reason::not_listed));
    EXPECT_EQ(explain(decision), "allowed: a is on the allow list; b is not on the allow list");
}

TEST(Explanation, SaysInAuditModeWhatWouldHaveBeen) {
    Decision decision = whole(judged("b", Reason::not_listed));
    decision.mode = Mode::audit;
    EXPECT_EQ(explain(decision), "would be refused: b is not on the allow list");
    decision = whole(judged("b", Reason::listed));
    decision.mode = Mode::audit;
    EXPECT_EQ(explain(decision), "allowed: b is on the allow list");
}

TEST(Explanation, NamesATokenThatMeansNothing) {
    Decision decision;
    decision.token = "net-pf-77";
    EXPECT_EQ(explain(decision),
              "refused: net-pf-77 is known neither as a module nor as an alias on this kernel");
    decision.reason = Reason::denied_token;
    decision.rule = rule_17;
    EXPECT_EQ(explain(decision),
              "refused: net-pf-77 is asked for by a denied alias, by deny.modules \"evil\" "
              "(/etc/kmodguard/policy.toml:17)");
}

TEST(Explanation, HasASubjectThoughThereIsNoName) {
    Decision decision;
    decision.reason = Reason::not_a_name;
    EXPECT_EQ(explain(decision), "refused: (no name) is not a valid module name or alias");
    EXPECT_EQ(explain(whole(judged("", Reason::unreadable_image))),
              "refused: (no name) has an image that cannot be judged");
}

TEST(Explanation, CannotBeUsedToWriteToATerminal) {
    const std::string nasty = "a\x1b[2J\nrefused: b\xff\xc2\x9b";
    for (const Reason reason : all_reasons()) {
        ModuleDecision module = judged(nasty, reason);
        module.because_of = nasty;
        module.detail = nasty;
        module.rule = Rule{RuleKind::deny_alias, nasty, nasty, 1};
        EXPECT_TRUE(is_shown_safely(explain(whole(module)))) << to_string(reason);
        Decision nothing;
        nothing.token = nasty;
        nothing.reason = reason;
        nothing.rule = module.rule;
        EXPECT_TRUE(is_shown_safely(explain(nothing))) << to_string(reason);
    }
}

TEST(Explanation, HasABoundedLength) {
    ModuleDecision module = judged(std::string(5000, 'm'), Reason::unreadable_image);
    module.because_of = module.detail = module.module;
    EXPECT_LT(explain(whole(module)).size(), 1000U);
    Decision nothing;
    nothing.token = module.module;
    EXPECT_LT(explain(nothing).size(), 400U);
}

} // namespace
} // namespace kmodguard::core
