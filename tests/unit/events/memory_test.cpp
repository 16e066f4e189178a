// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows that what a process can make long in an event counts as memory that the event takes.
#include "events/event.hpp"

#include <gtest/gtest.h>

#include <functional>

namespace kmodguard::events {
namespace {

constexpr std::size_t much = 10'000;
const std::string long_text(much, 'x');

TEST(Memory, OfWhatIsShortIsNothingBeside) {
    EXPECT_EQ(memory_beside(Attempt(core::Point::kernel, 0, {}, "finit_module")), 0U);
    EXPECT_EQ(memory_beside(Loss{.count = 1}), 0U);
}

TEST(Memory, OfEveryTextOfAnAttemptCounts) {
    using Change = std::function<void(Attempt&)>;
    const std::vector<Change> changes = {
        [](Attempt& a) { a.decision.token = long_text; },
        [](Attempt& a) { a.decision.rule = core::Rule{{}, long_text, "", 0}; },
        [](Attempt& a) { a.decision.rule = core::Rule{{}, "", long_text, 0}; },
        [](Attempt& a) { a.decision.modules.resize(much / sizeof(core::ModuleDecision) + 1); },
        [](Attempt& a) { a.decision.modules.emplace_back().module = long_text; },
        [](Attempt& a) { a.decision.modules.emplace_back().because_of = long_text; },
        [](Attempt& a) { a.decision.modules.emplace_back().file = long_text; },
        [](Attempt& a) { a.decision.modules.emplace_back().detail = long_text; },
        [](Attempt& a) { a.decision.modules.emplace_back().omitted = {long_text}; },
        [](Attempt& a) { a.decision.modules.emplace_back().chain = {{long_text}}; },
        [](Attempt& a) { a.decision.modules.emplace_back().chain = {{"a", true, long_text}}; },
        [](Attempt& a) { a.decision.modules.emplace_back().commands = {{"", long_text, ""}}; },
        [](Attempt& a) { a.decision.modules.emplace_back().kept_out = core::KeptOut{{}, "", long_text}; },
        [](Attempt& a) { a.decision.modules.emplace_back().rule = core::Rule{{}, long_text, "", 0}; },
        [](Attempt& a) { a.requester = Requester{.command = long_text}; },
        [](Attempt& a) { a.requester = Requester{.executable = long_text}; },
        [](Attempt& a) { a.requester = Requester{.cgroup = long_text}; },
        [](Attempt& a) { a.requester = Requester{.container = long_text}; },
        [](Attempt& a) { a.call = long_text; },
        [](Attempt& a) { a.file = long_text; },
        [](Attempt& a) { a.parameters = long_text; },
        [](Attempt& a) { a.answer = long_text; },
        [](Attempt& a) { a.other_tokens = {long_text}; },
        [](Attempt& a) { a.note = long_text; },
        [](Attempt& a) { a.after = EarlierCall{.call = "", .file = long_text, .answer = ""}; },
    };
    for (const Change& change : changes) {
        Attempt attempt(core::Point::kernel, 0, {});
        change(attempt);
        EXPECT_GE(memory_beside(attempt), much) << "change " << &change - changes.data();
    }
}

TEST(Memory, OfOtherEventsCounts) {
    Change change(Action::allow, 0, long_text);
    EXPECT_GE(memory_beside(change), much);
    change.error.reset();
    change.argument = long_text;
    EXPECT_GE(memory_beside(change), much);
    EXPECT_GE(memory_beside(SealRefusal(0, long_text, {})), much);
    EXPECT_GE(memory_beside(Tampering(0, long_text)), much);
    EXPECT_GE(memory_beside(LogLine{long_text, ""}), much);
}

} // namespace
} // namespace kmodguard::events
