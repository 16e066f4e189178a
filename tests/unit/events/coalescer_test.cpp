// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows what is told at once, what is counted and told when its span is over, that the numbers add up, that
// others are not held up by it, and that one attempt of two calls is one event while two attempts stay two.
#include "events/coalescer.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace kmodguard::events {
namespace {

using namespace std::chrono_literals;
using Clock = Coalescer::Clock;

const Clock::time_point start{1h};
const std::chrono::system_clock::time_point wall = std::chrono::sys_days(std::chrono::year(2026) / 11 / 21);

Attempt request(const std::string& token, uid_t uid = 1000, core::Reason reason = core::Reason::not_listed) {
    Attempt event(core::Point::kernel, 0, {});
    event.time = wall;
    event.decision.token = token;
    event.decision.reason = reason;
    Requester& by = event.requester.emplace();
    by.pid = 42;
    by.uid = uid;
    by.command = "sh";
    return event;
}

Attempt image(const std::string& call, const std::string& module, core::Reason reason) {
    Attempt event = request("", 0, reason);
    event.call = call;
    event.image_size = 4096;
    event.decision.judged = core::verdict_of(reason);
    event.decision.modules.emplace_back().module = module;
    return event;
}

Attempt at(Attempt event, std::chrono::milliseconds after) {
    event.time += after;
    return event;
}

std::uint64_t sum_of(const std::vector<Attempt>& events) {
    std::uint64_t sum = 0;
    for (const Attempt& event : events)
        sum += 1 + event.repeated;
    return sum;
}

std::vector<std::string> calls_of(const std::vector<Attempt>& events) {
    std::vector<std::string> calls;
    for (const Attempt& event : events)
        calls.push_back((event.after ? event.after->call + ", " : "") + event.call);
    return calls;
}

/// The attempts among `events`, which are all.
std::vector<Attempt> attempts_in(const std::vector<Event>& events) {
    std::vector<Attempt> attempts;
    for (const Event& event : events)
        attempts.push_back(std::get<Attempt>(event));
    return attempts;
}

std::vector<Attempt> take(Coalescer& coalescer, const Attempt& attempt, Clock::time_point now) {
    return attempts_in(coalescer.take(attempt, now));
}

std::vector<Attempt> take_due(Coalescer& coalescer, Clock::time_point now) {
    return attempts_in(coalescer.take_due(now));
}

/// All that comes of `events`, one a millisecond, in the order in which it is told.
std::vector<Attempt> all_of(Coalescer& coalescer, const std::vector<Attempt>& events) {
    std::vector<Attempt> told;
    auto now = start;
    for (const Attempt& event : events)
        for (Attempt& one : take(coalescer, event, now += 1ms))
            told.push_back(std::move(one));
    for (Attempt& one : take_due(coalescer, Clock::time_point::max()))
        told.push_back(std::move(one));
    return told;
}

TEST(Coalescer, FirstIsToldAtOnceAndTheRestByOneEventWithTheirNumberAndSpan) {
    Coalescer coalescer;
    EXPECT_EQ(take(coalescer, request("x"), start).size(), 1U);
    for (int i = 1; i <= 181; ++i)
        EXPECT_TRUE(take(coalescer, at(request("x"), i * 5ms), start + i * 5ms).empty());
    EXPECT_TRUE(take_due(coalescer, start + 999ms).empty());
    ASSERT_EQ(coalescer.next_due(), start + 1s);
    const auto told = take_due(coalescer, start + 1s);
    ASSERT_EQ(told.size(), 1U);
    EXPECT_EQ(told[0].repeated, 180U) << "and itself";
    EXPECT_EQ(told[0].time, wall + 905ms);
    EXPECT_EQ(told[0].repeated_since, wall + 5ms);
    EXPECT_NE(summary(told[0]).find("180 times more in the 0.9 s before"), std::string::npos)
        << summary(told[0]);
}

TEST(Coalescer, AFloodIsToldOfEverLessOftenAndNothingOfItIsLost) {
    Coalescer coalescer;
    std::vector<Attempt> told = take(coalescer, request("x"), start);
    for (int second = 1; second <= 1000; ++second) {
        for (Attempt& event : take(coalescer, request("x"), start + second * 1s - 1ms))
            told.push_back(std::move(event));
        for (Attempt& event : take_due(coalescer, start + second * 1s))
            told.push_back(std::move(event));
    }
    EXPECT_LT(told.size(), 30U);
    for (Attempt& event : take_due(coalescer, Clock::time_point::max()))
        told.push_back(std::move(event));
    EXPECT_EQ(sum_of(told), 1001U);
}

TEST(Coalescer, OneThatComesLaterIsToldAtOnce) {
    Coalescer coalescer;
    EXPECT_EQ(take(coalescer, request("x"), start).size(), 1U);
    EXPECT_TRUE(take_due(coalescer, start + 1s).empty());
    EXPECT_EQ(coalescer.next_due(), std::nullopt);
    EXPECT_EQ(take(coalescer, request("x"), start + 1s).size(), 1U);
}

TEST(Coalescer, AnythingThatDiffersIsToldByItself) {
    const Attempt same = image("init_module", "m", core::Reason::not_listed);
    const auto with = [&same](auto change) {
        Attempt event = same;
        change(event);
        return event;
    };
    const std::vector<Attempt> others = {
        with([](Attempt& e) { e.decision.modules[0].module = "n"; }),
        with([](Attempt& e) { e.decision.reason = core::Reason::denied_module; }),
        with([](Attempt& e) { e.point = core::Point::process; }),
        with([](Attempt& e) { e.call = "delete_module"; }),
        with([](Attempt& e) { e.file = "/tmp/m.ko"; }),
        with([](Attempt& e) { e.note = "another"; }),
        with([](Attempt& e) { e.answer = "EPERM"; }),
        with([](Attempt& e) { e.generation = 7; }),
        with([](Attempt& e) { e.sha256.emplace()[0] = 1; }),
        with([](Attempt& e) { e.requester->uid = 1; }),
        with([](Attempt& e) { e.requester->container = "c"; }),
        with([](Attempt& e) { e.requester->executable = "/bin/other"; }),
        with([](Attempt& e) { e.requester->command = "other"; }),
        with([](Attempt& e) { e.requester->user_namespace = 3; }),
        with([](Attempt& e) { e.requester.reset(); }),
    };
    Coalescer coalescer;
    EXPECT_EQ(take(coalescer, same, start).size(), 1U);
    for (const Attempt& other : others)
        EXPECT_EQ(take(coalescer, other, start).size(), 1U) << summary(other);
    EXPECT_TRUE(take(coalescer, with([](Attempt& e) { e.requester->pid = 43; }), start).empty());
}

TEST(Coalescer, WhatIsLetPassAndWhatIsReportedIsToldEachTime) {
    Coalescer coalescer;
    Attempt audited = image("init_module", "m", core::Reason::not_listed);
    audited.decision.mode = core::Mode::audit;
    for (const Event& event : {Event(Tampering(0, "pins were missing")), Event(Change(Action::reload, 0)),
                               Event(LogLine{"/lib/a.ko", ""})})
        for (int i = 0; i < 3; ++i)
            EXPECT_EQ(coalescer.take(event, start).size(), 1U);
    for (const Attempt& event : {image("init_module", "m", core::Reason::listed), audited})
        for (int i = 0; i < 3; ++i)
            EXPECT_EQ(take(coalescer, event, start).size(), 1U) << summary(event);
}

TEST(Coalescer, WhatTheSealForbidsIsCountedByWhatItIsAndWhoTriesIt) {
    Coalescer coalescer;
    const auto refusal = [](const std::string& what, uid_t uid) {
        SealRefusal made(7, what, Requester{.pid = 42, .uid = uid});
        made.time = wall;
        return made;
    };
    for (int i = 0; i < 4; ++i)
        EXPECT_EQ(coalescer.take(refusal("kexec", 0), start).size(), i == 0 ? 1U : 0U);
    EXPECT_EQ(coalescer.take(refusal("kexec", 1000), start).size(), 1U);
    EXPECT_EQ(coalescer.take(refusal("unpin", 0), start).size(), 1U);
    EXPECT_EQ(coalescer.take(request("kexec"), start).size(), 1U);
    const auto due = coalescer.take_due(start + 1s);
    ASSERT_EQ(due.size(), 1U);
    const auto& counted = std::get<SealRefusal>(due.front());
    EXPECT_EQ(counted.repeated, 2U) << "and itself";
    EXPECT_EQ(counted.repeated_since, wall);
    EXPECT_EQ(summary(counted),
              "kexec: refused: the machine is sealed (by [42], uid 0), 2 times more in the 0.0 s before");
}

/// A boot of 6.12 asks for 26 names that nothing answers to.
TEST(Coalescer, NamesThatNothingAnswersToAreToldTogetherAndEachIsNamed) {
    Coalescer coalescer;
    std::vector<Attempt> events;
    for (int i = 0; i < 26; ++i)
        events.push_back(request("crypto-" + std::to_string(i), 0, core::Reason::no_such_module));
    events.push_back(events[3]);
    const auto told = all_of(coalescer, events);
    ASSERT_EQ(told.size(), 2U);
    EXPECT_EQ(told[0].decision.token, "crypto-0");
    EXPECT_EQ(told[1].decision.token, "crypto-3");
    EXPECT_EQ(told[1].repeated, 25U);
    ASSERT_EQ(told[1].other_tokens.size(), 24U) << "each once, but for the first two";
    EXPECT_EQ(told[1].other_tokens.front(), "crypto-1");
    EXPECT_EQ(told[1].other_tokens.back(), "crypto-25");
}

TEST(Coalescer, NamesThatOneEventHoldsAreBounded) {
    Coalescer coalescer;
    std::vector<Attempt> events;
    for (int i = 0; i < 1000; ++i)
        events.push_back(request("name" + std::to_string(i), 1000, core::Reason::no_such_module));
    const auto told = all_of(coalescer, events);
    ASSERT_EQ(told.size(), 2U);
    EXPECT_EQ(told[1].repeated, 998U);
    EXPECT_EQ(told[1].other_tokens.size(), Coalescer::max_tokens);
}

TEST(Coalescer, OneUsersKindsLeaveRoomForAnothersAndAreAllRecorded) {
    Coalescer coalescer;
    std::vector<Attempt> events;
    for (std::size_t i = 0; i < 2 * Coalescer::max_kinds; ++i)
        events.push_back(request("x" + std::to_string(i)));
    events.insert(events.end(), 5, request("y", 1001));
    EXPECT_EQ(all_of(coalescer, events).size(), 2 * Coalescer::max_kinds + 2);
    // And the room is given back.
    EXPECT_EQ(all_of(coalescer, {3, request("z")}).size(), 2U);
}

/// What kmod 31 and later do where the kernel answers ENOSYS to a compressed image that was not checked.
TEST(Coalescer, ACompressedImageThatIsHandedOverUnpackedNextIsOneAttempt) {
    Attempt packed = image("finit_module", "", core::Reason::unreadable_image);
    packed.file = "/lib/modules/6.12/kernel/net/key/af-key.ko.xz";
    packed.other_form_wanted = true;
    for (const core::Reason reason : {core::Reason::listed, core::Reason::not_listed}) {
        Coalescer coalescer;
        const auto told = all_of(coalescer, {packed, image("init_module", "af_key", reason)});
        ASSERT_EQ(calls_of(told), (std::vector<std::string>{"finit_module, init_module"}));
        EXPECT_EQ(told[0].decision.reason, reason);
        EXPECT_EQ(told[0].after->file, packed.file);
    }
}

/// What busybox does with a packed file that the kernel does not take for a module.
TEST(Coalescer, WhatIsNoModuleAndIsHandedOverUnpackedNextIsOneAttempt) {
    Attempt packed = image("finit_module", "", core::Reason::not_a_module);
    packed.file = "/m/evil.ko.gz";
    packed.answer = "ENOEXEC";
    Coalescer coalescer;
    const auto told = all_of(coalescer, {packed, image("init_module", "evil", core::Reason::not_listed)});
    ASSERT_EQ(calls_of(told), (std::vector<std::string>{"finit_module, init_module"}));
    EXPECT_EQ(told[0].after->answer, "ENOEXEC");
}

/// What busybox does after EPERM.
TEST(Coalescer, TheSameImageThatIsRefusedByBothCallsIsOneAttempt) {
    Coalescer coalescer;
    const auto told = all_of(coalescer, {image("finit_module", "m", core::Reason::not_listed),
                                         image("init_module", "m", core::Reason::not_listed)});
    EXPECT_EQ(calls_of(told), (std::vector<std::string>{"finit_module"}));
}

TEST(Coalescer, TwoAttemptsStayTwo) {
    const auto first = [] { return image("finit_module", "m", core::Reason::not_listed); };
    const auto second = [] { return image("init_module", "m", core::Reason::not_listed); };
    const auto other = [&](auto change) {
        Attempt event = second();
        change(event);
        return std::vector<Attempt>{first(), event};
    };
    const std::vector<std::vector<Attempt>> pairs = {
        other([](Attempt& e) { e.decision.modules[0].module = "n"; }),
        other([](Attempt& e) { e.image_size = 8192; }),
        other([](Attempt& e) { e.sha256.emplace()[0] = 1; }),
        other([](Attempt& e) { e.requester->pid = 43; }),
        other([](Attempt& e) { e.requester->command = "other"; }),
        other([](Attempt& e) { e.requester->container = "c"; }),
        other([](Attempt& e) { e.point = core::Point::process; }),
        other([](Attempt& e) { e.requester->pid = 0; }),
        other([](Attempt& e) { e.time += 1001ms; }), // both recorded late
        {second(), first()},
    };
    for (const auto& pair : pairs) {
        Coalescer coalescer;
        EXPECT_EQ(sum_of(all_of(coalescer, pair)), 2U);
    }
    Coalescer coalescer; // each call follows a first one once
    EXPECT_EQ(sum_of(all_of(coalescer, {first(), second(), second()})), 2U);
    Coalescer slow;
    EXPECT_EQ(take(slow, first(), start).size(), 1U);
    EXPECT_EQ(take(slow, second(), start + 1001ms).size(), 1U);
}

TEST(Coalescer, APackedImageThatNothingFollowsIsToldByItself) {
    Attempt packed = image("finit_module", "", core::Reason::unreadable_image);
    packed.file = "/m/a.ko.xz";
    packed.other_form_wanted = true;
    Coalescer coalescer;
    EXPECT_TRUE(take(coalescer, packed, start).empty());
    EXPECT_EQ(coalescer.next_due(), start + 1s);
    EXPECT_EQ(calls_of(take_due(coalescer, start + 1s)), (std::vector<std::string>{"finit_module"}));

    Coalescer ending;
    EXPECT_EQ(calls_of(all_of(ending, {packed, packed})),
              (std::vector<std::string>{"finit_module", "finit_module"}));

    Coalescer another; // nor by what is of another name
    const auto told = all_of(another, {packed, image("init_module", "b", core::Reason::listed)});
    EXPECT_EQ(calls_of(told), (std::vector<std::string>{"finit_module", "init_module"}));
}

} // namespace
} // namespace kmodguard::events
