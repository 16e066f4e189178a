// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows, for every architecture and each layout of struct load_info, what becomes of a module that a guest's
// process loads: allowed ones are left alone, refused ones are emptied, and who asked is told so.
#include "guest/watch_fixture.hpp"
#include "modules/elf_builder.hpp"
#include "modules/image.hpp"

#include <algorithm>
#include <cerrno>
#include <utility>

namespace kmodguard::guest {
namespace {

using core::CallerAnswer;
using core::Verdict;
using test::TinyKernel;
using Answers = std::vector<std::int64_t>;
using Lines = std::vector<std::string>;
using Layout = TinyKernel::Layout;

class WatchLoadTest : public test::WatchFixture {};
INSTANTIATE_TEST_SUITE_P(Every, WatchLoadTest, testing::ValuesIn(test::every_architecture()),
                         test::name_of_architecture);

TEST_P(WatchLoadTest, AllowedFileIsLeftAloneAndItsAnswerIsRecorded) {
    watch({});
    load_file("good");
    run();
    EXPECT_EQ(kernel_.loaded, std::vector<std::size_t>{image("good").size()});
    EXPECT_EQ(answers(), Answers{0});
    EXPECT_EQ(event().call, "finit_module");
    EXPECT_EQ(event().file, "/lib/modules/good.ko");
    EXPECT_EQ(event().decision.effective(), Verdict::allow);
    EXPECT_EQ(event().answer, "0");
    EXPECT_EQ(event().note, "");
    ASSERT_TRUE(event().requester);
    EXPECT_EQ(event().requester->pid, 321);
    EXPECT_EQ(event().point, core::Point::guest);
    EXPECT_EQ(records_.attempts, Lines{"/lib/modules/good.ko"});
    EXPECT_EQ(watch_->attempts(), 1U);
    EXPECT_FALSE(machine_.busy());
    EXPECT_TRUE(is_quiet()) << "no breakpoint is left over";
}

TEST_P(WatchLoadTest, AnswerOfTheKernelToAnAllowedOneIsItsOwn) {
    watch({});
    kernel_.verdict = -EEXIST;
    load_file("good");
    run();
    EXPECT_EQ(answers(), Answers{-EEXIST});
    EXPECT_EQ(event().answer, "EEXIST");
}

TEST_P(WatchLoadTest, AllowedImageOfAProcessIsRecordedByItsNameWithItsParameters) {
    watch({});
    load_image("good", "speed=9 name=\"a b\"");
    run();
    EXPECT_EQ(kernel_.loaded.size(), 1U);
    EXPECT_EQ(event().call, "init_module");
    EXPECT_EQ(event().file, "");
    EXPECT_EQ(event().parameters, "speed=9 name=\"a b\"");
    EXPECT_EQ(records_.attempts, Lines{"good"});
}

TEST_P(WatchLoadTest, RefusedOneIsEmptiedAndItsCallerIsToldSo) {
    for (const Layout layout : {Layout::since_4_20, Layout::of_4_18, Layout::before}) {
        kernel_.layout = layout;
        watch({});
        load_image("bad", "x=1");
        run();
        EXPECT_EQ(kernel_.loaded, std::vector<std::size_t>{});
        EXPECT_EQ(answers(), Answers{-EPERM});
        EXPECT_EQ(event().decision.effective(), Verdict::refuse);
        EXPECT_EQ(event().answer, "EPERM");
        EXPECT_EQ(event().parameters, "x=1");
        EXPECT_EQ(event().note, "");
        EXPECT_EQ(records_.attempts, Lines{"bad"});
        EXPECT_FALSE(machine_.busy());
        EXPECT_TRUE(is_quiet());
        records_ = {};
    }
}

TEST_P(WatchLoadTest, RefusedOneMayBeToldThatItIsLoaded) {
    watch({.answer = CallerAnswer::pretend});
    load_file("bad");
    run();
    EXPECT_EQ(kernel_.loaded, std::vector<std::size_t>{});
    EXPECT_EQ(answers(), Answers{0});
    EXPECT_EQ(event().answer, "0");
    EXPECT_TRUE(event().note.contains("pretended")) << event().note;
}

TEST_P(WatchLoadTest, AuditModeLetsItPassAndSaysSo) {
    watch({.audit = true});
    load_file("bad");
    run();
    EXPECT_EQ(kernel_.loaded.size(), 1U);
    EXPECT_EQ(answers(), Answers{0});
    EXPECT_TRUE(event().decision.audited());
    EXPECT_EQ(event().answer, "0");
}

TEST_P(WatchLoadTest, CopyThatOnlyTheGuestSeesIsReadByTheGuest) {
    kernel_.copies_seen = false;
    watch({});
    load_file("good");
    run();
    EXPECT_EQ(kernel_.loaded.size(), 1U);
    EXPECT_EQ(event().decision.effective(), Verdict::allow);
    EXPECT_TRUE(std::ranges::find(kernel_.called, "memcpy") != kernel_.called.end());
    load_image("bad", "", 1);
    run();
    EXPECT_EQ(kernel_.loaded.size(), 1U);
}

TEST_P(WatchLoadTest, HashIsRecordedWhereItIsAskedFor) {
    watch({.hash = true});
    load_file("good");
    run();
    ASSERT_TRUE(event().sha256);
    EXPECT_EQ(event().sha256, modules::identify_image(image("good"), {.with_hash = true}).facts.sha256);
}

TEST_P(WatchLoadTest, WhatIsNoModuleGetsTheKernelsOwnAnswerWhateverThePolicySays) {
    const std::string script = "#!/bin/sh\n" + std::string(100, '#');
    for (const Options options : {Options{.answer = CallerAnswer::refuse},
                                  Options{.answer = CallerAnswer::pretend}, Options{.audit = true}}) {
        watch(options);
        kernel_.make_call(0, 0, Call::init_module,
                          kernel_.image_of_process(kmodguard::test::to_bytes(script)));
        run();
        EXPECT_EQ(kernel_.loaded, std::vector<std::size_t>{});
        EXPECT_EQ(answers(), Answers{-ENOEXEC});
        EXPECT_EQ(event().answer, "ENOEXEC");
        EXPECT_EQ(event().decision.reason, core::Reason::not_a_module);
        EXPECT_EQ(event().decision.effective(), Verdict::refuse);
        EXPECT_EQ(records_.attempts, Lines{"?"});
        EXPECT_TRUE(is_quiet());
        records_ = {};
    }
}

TEST_P(WatchLoadTest, HalfAModuleIsAnsweredByThePolicy) {
    auto half = image("good");
    half.resize(half.size() / 2);
    watch({.answer = CallerAnswer::pretend});
    kernel_.make_call(0, 0, Call::init_module, kernel_.image_of_process(half));
    run();
    EXPECT_EQ(answers(), Answers{0});
    EXPECT_EQ(event().decision.reason, core::Reason::unreadable_image);
}

TEST_P(WatchLoadTest, OfAnUnknownLayoutIsReturnedFromAtOnce) {
    kernel_.layout = Layout::unknown;
    for (const CallerAnswer answer : {CallerAnswer::refuse, CallerAnswer::pretend}) {
        watch({.answer = answer});
        load_file("good");
        run();
        EXPECT_EQ(kernel_.loaded, std::vector<std::size_t>{}) << "nothing of load_module() has run";
        EXPECT_EQ(answers(), Answers{answer == CallerAnswer::refuse ? -EPERM : 0});
        EXPECT_EQ(event().decision.reason, core::Reason::unreadable_image);
        EXPECT_EQ(event().answer, answer == CallerAnswer::refuse ? "EPERM" : "0");
        EXPECT_FALSE(machine_.busy());
        records_ = {};
    }
}

TEST_P(WatchLoadTest, KernelThatLoadsAnEmptyImageIsReported) {
    watch({});
    tiny_.define(addresses_.load_module.front() - GetParam()->entry,
                 [this](std::size_t on) { tiny_.give_back(on, 0); });
    load_file("bad");
    run();
    EXPECT_TRUE(event().note.starts_with("LOADED")) << event().note;
}

TEST_P(WatchLoadTest, OfTwoTasksAtTheSameTimeAreNotMixedUp) {
    watch({});
    load_file("bad", 3, 0, 0);
    // The first one sleeps in fget() while the second one's load is seen from beginning to end.
    bool slept = false;
    kernel_.in_fget = [&](std::size_t on) {
        if (std::exchange(slept, true)) return;
        tiny_.processors[on].busy = false;
    };
    tiny_.events.emplace_back([&] { load_file("good", 4, 1, 1); });
    tiny_.events.emplace_back([&] { tiny_.processors[0].busy = true; });
    run();
    EXPECT_EQ(kernel_.loaded, std::vector<std::size_t>{image("good").size()});
    EXPECT_EQ(answers(), (Answers{-EPERM, 0})) << "by their stacks";
    ASSERT_EQ(records_.events.size(), 2U);
    EXPECT_EQ(records_.events[0].file, "/lib/modules/good.ko");
    EXPECT_EQ(records_.events[0].answer, "0");
    EXPECT_EQ(records_.events[1].file, "/lib/modules/bad.ko");
    EXPECT_EQ(records_.events[1].answer, "EPERM");
    EXPECT_FALSE(machine_.busy());
    EXPECT_TRUE(is_quiet());
}

} // namespace
} // namespace kmodguard::guest
