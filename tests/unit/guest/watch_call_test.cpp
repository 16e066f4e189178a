// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows what is seen and decided at a guest's system calls: attempts for which no image comes, kernels whose
// copy of the image cannot be got at, modules that are taken out, and guests that end, restart, or were
// watched by somebody else before.
#include "guest/watch_fixture.hpp"

#include <algorithm>
#include <cerrno>

namespace kmodguard::guest {
namespace {

using core::CallerAnswer;
using core::Verdict;
using test::TinyKernel;
using Answers = std::vector<std::int64_t>;
using Lines = std::vector<std::string>;
using std::chrono::milliseconds;
using std::chrono::seconds;

class WatchCallTest : public test::WatchFixture {
  protected:
    /// As with --intercept system-call, and with kernels before 3.8.
    void watch_calls(Options options) {
        addresses_.load_module.clear();
        watch(options);
    }
    /// One task in fget(), called in its name, that does not come back by itself.
    void begin_load_that_sleeps() {
        kernel_.in_fget = [this](std::size_t on) { tiny_.processors[on].busy = false; };
        load_file("good");
        run();
        ASSERT_TRUE(watch_->is_calling());
    }
};
INSTANTIATE_TEST_SUITE_P(Every, WatchCallTest, testing::ValuesIn(test::every_architecture()),
                         test::name_of_architecture);

TEST_P(WatchCallTest, AttemptWithoutALoadIsRecordedAfterFiveSeconds) {
    watch({});
    kernel_.answers_itself = true;
    const auto before = Watch::Clock::now();
    load_file("good");
    run();
    const auto after = Watch::Clock::now();
    EXPECT_EQ(answers(), Answers{-EBUSY});
    EXPECT_EQ(records_.events.size(), 0U);
    EXPECT_EQ(records_.attempts, Lines{"/lib/modules/good.ko"}) << "that somebody tried is known at once";
    watch_->record_unanswered(before + milliseconds(4999));
    recorder_.flush();
    EXPECT_EQ(records_.events.size(), 0U);
    watch_->record_unanswered(after + seconds(5));
    watch_->record_unanswered(after + seconds(60));
    recorder_.flush();
    EXPECT_EQ(event().file, "/lib/modules/good.ko");
    EXPECT_EQ(event().answer, "") << "it is not known";
    EXPECT_EQ(event().decision.judged, Verdict::refuse);
    EXPECT_TRUE(event().decision.modules.front().detail.contains("no image")) << "and why";
    EXPECT_EQ(records_.attempts.size(), 1U);
}

TEST_P(WatchCallTest, AttemptWithoutALoadIsRecordedWhenItsTaskTriesAgain) {
    watch({});
    kernel_.answers_itself = true;
    load_file("good");
    run();
    kernel_.answers_itself = false;
    load_file("good", 4);
    run();
    ASSERT_EQ(records_.events.size(), 2U);
    EXPECT_EQ(records_.events[0].answer, "");
    EXPECT_EQ(records_.events[1].answer, "0");
    EXPECT_EQ(watch_->attempts(), 2U);
}

TEST_P(WatchCallTest, FileThatIsNotOpenIsSaidSo) {
    watch({});
    kernel_.answers_itself = true;
    kernel_.make_call(0, 0, Call::finit_module, {0xffff'ffff, 0, 0});
    run();
    watch_->finish();
    recorder_.flush();
    EXPECT_EQ(event().note, "file descriptor -1 is not open");
    EXPECT_EQ(records_.attempts, Lines{"?"});
}

TEST_P(WatchCallTest, KernelWithoutTheHelpersIsWatchedAllTheSame) {
    Functions& functions = addresses_.functions;
    functions.get_file = functions.file_path = functions.process_id = functions.duplicate_text = 0;
    watch({});
    load_file("bad");
    run();
    EXPECT_EQ(answers(), Answers{-EPERM});
    EXPECT_EQ(event().file, "");
    EXPECT_FALSE(event().requester);
    EXPECT_TRUE(event().note.contains("no path")) << event().note;
    EXPECT_EQ(records_.attempts, Lines{"bad"});
}

TEST_P(WatchCallTest, ImageIsJudgedAtTheCallWhereTheCopyCannotBe) {
    watch_calls({});
    load_image("bad", "x=1");
    run();
    EXPECT_EQ(kernel_.loaded.size(), 0U);
    EXPECT_EQ(answers(), Answers{-EPERM});
    EXPECT_EQ(event().answer, "EPERM");
    EXPECT_EQ(event().parameters, "x=1");
    records_ = {};
    load_image("good");
    run();
    EXPECT_EQ(kernel_.loaded.size(), 1U);
    EXPECT_EQ(answers(), Answers{0});
    EXPECT_EQ(event().decision.effective(), Verdict::allow);
    EXPECT_EQ(event().answer, "") << "it is not waited for";
    EXPECT_EQ(records_.attempts, Lines{"good"});
    EXPECT_FALSE(machine_.busy());
}

TEST_P(WatchCallTest, FileIsNotTakenWhereOnlyTheCallCanBeDecidedOn) {
    watch_calls({.answer = CallerAnswer::pretend});
    load_file("good");
    run();
    EXPECT_EQ(kernel_.loaded.size(), 0U);
    EXPECT_EQ(answers(), Answers{-ENOSYS}) << "whoever is told so uses init_module";
}

TEST_P(WatchCallTest, ImageThatIsNotThereIsRefused) {
    watch_calls({});
    kernel_.make_call(0, 0, Call::init_module, {0x10, 1000, 0x20});
    run();
    EXPECT_EQ(answers(), Answers{-EPERM});
    EXPECT_EQ(event().decision.reason, core::Reason::unreadable_image);
}

TEST_P(WatchCallTest, ImageOfAnyLengthThatAProcessNamesIsRefusedWithoutBeingFetched) {
    watch_calls({});
    const std::uint64_t huge = GetParam()->word == 4 ? 0x7fff'ffff : 1ULL << 60U;
    kernel_.make_call(0, 0, Call::init_module, {TinyKernel::user, huge, 0});
    run();
    EXPECT_EQ(answers(), Answers{-EPERM});
    EXPECT_EQ(std::ranges::count(kernel_.called, "memdup_user"), 0);
}

TEST_P(WatchCallTest, UnloadsAreRecordedAndLeftAloneUnlessTheyAreForbidden) {
    watch({});
    kernel_.make_call(0, 0, Call::delete_module, {kernel_.text_of_process("good"), 0, 0});
    run();
    EXPECT_EQ(kernel_.removed, Lines{"good"});
    EXPECT_EQ(event().call, "delete_module");
    ASSERT_EQ(event().decision.modules.size(), 1U);
    EXPECT_EQ(event().decision.modules.front().module, "good");
    EXPECT_EQ(event().decision.effective(), Verdict::allow);
    records_ = {};
    watch({.no_unload = true});
    kernel_.make_call(0, 0, Call::delete_module, {kernel_.text_of_process("good"), 0, 0});
    run();
    EXPECT_EQ(kernel_.removed.size(), 1U);
    EXPECT_EQ(answers(), Answers{-EPERM});
    EXPECT_EQ(event().decision.reason, core::Reason::denied_unload);
    EXPECT_EQ(event().answer, "EPERM");
}

TEST_P(WatchCallTest, AfterARebootNothingWaitsAndTheSameTaskIsSeenAnew) {
    watch({});
    begin_load_that_sleeps();
    ASSERT_TRUE(watch_->forget());
    recorder_.flush();
    records_ = {};
    EXPECT_FALSE(machine_.busy());
    EXPECT_FALSE(watch_->is_calling());
    EXPECT_TRUE(is_quiet());
    kernel_.in_fget = nullptr;
    load_file("good");
    run();
    EXPECT_EQ(answers(), Answers{0});
    EXPECT_EQ(event().answer, "0");
}

TEST_P(WatchCallTest, AttemptThatTheKernelAnsweredIsRecordedHoweverTheWatchEnds) {
    watch({});
    kernel_.answers_itself = true;
    load_file("good");
    run();
    EXPECT_EQ(records_.events.size(), 0U);
    watch_.reset(); // nobody calls finish(): the emulator has hung up in the middle of a question
    recorder_.flush();
    EXPECT_EQ(event().file, "/lib/modules/good.ko");
}

TEST_P(WatchCallTest, AttemptThatIsLookedAtWhenTheWatchEndsIsRecorded) {
    watch({});
    begin_load_that_sleeps();
    watch_.reset();
    recorder_.flush();
    EXPECT_EQ(event().call, "finit_module");
    EXPECT_EQ(event().decision.effective(), Verdict::refuse);
    EXPECT_TRUE(event().decision.modules.front().detail.contains("before it was decided"));
    EXPECT_EQ(records_.attempts, Lines{"?"});
    ASSERT_TRUE(machine_.forget());
}

TEST_P(WatchCallTest, WhatIsNoModuleGetsTheKernelsAnswerAtTheCallAsWell) {
    watch_calls({.answer = CallerAnswer::pretend});
    kernel_.make_call(0, 0, Call::init_module, kernel_.image_of_process(std::vector<std::byte>(100)));
    run();
    EXPECT_EQ(kernel_.loaded.size(), 0U) << "it may be another one by now";
    EXPECT_EQ(answers(), Answers{-ENOEXEC});
    EXPECT_EQ(event().answer, "ENOEXEC");
    EXPECT_EQ(event().decision.reason, core::Reason::not_a_module);
}

TEST_P(WatchCallTest, LoadThatHasNotEndedIsRecordedAtTheEnd) {
    watch({});
    tiny_.define(addresses_.load_module.front() - GetParam()->entry,
                 [this](std::size_t on) { tiny_.processors[on].busy = false; });
    load_file("good");
    run();
    watch_->finish();
    recorder_.flush();
    EXPECT_EQ(event().decision.effective(), Verdict::allow);
    EXPECT_TRUE(event().note.contains("had not answered")) << event().note;
    ASSERT_TRUE(machine_.forget());
}

TEST_P(WatchCallTest, CallsThatAPredecessorLeftAreBegunAgain) {
    watch({});
    begin_load_that_sleeps();
    // It dies here: of the work nothing is left but what is in the guest.
    ASSERT_TRUE(machine_.forget());
    watch_.emplace(machine_, *judge_, recorder_, Watch::Hashing{});
    recorder_.flush();
    records_ = {}; // it was killed, and has recorded nothing
    ASSERT_TRUE(machine_.set_hooks(watch_->hooks_for(addresses_, Watch::Unseen::injected)));
    ASSERT_TRUE(watch_->take_over());
    kernel_.in_fget = nullptr;
    tiny_.processors[0].busy = true; // the task wakes up, and fget() returns to the return trampoline
    run();
    EXPECT_EQ(kernel_.loaded.size(), 1U);
    EXPECT_EQ(answers(), Answers{0});
    EXPECT_EQ(event().file, "/lib/modules/good.ko");
    EXPECT_EQ(event().answer, "0");
}

TEST_P(WatchCallTest, WhoeverStandsAtABreakpointIsAttendedToWhenAWatchTakesOver) {
    load_file("bad"); // as if its predecessor had died while it stood there
    tiny_.reg(0, GetParam()->pc) += GetParam()->entry;
    watch({.unseen = Watch::Unseen::injected});
    ASSERT_TRUE(watch_->take_over());
    run();
    EXPECT_EQ(answers(), Answers{-EPERM});
    EXPECT_EQ(event().answer, "EPERM");
}

TEST_P(WatchCallTest, LoadThatWasUnderWayIsDecidedOnWhenAWatchBegins) {
    // The task is between its system call and load_module() while no kmodctl watches.
    tiny_.define(kernel_.address_of(Call::init_module),
                 [this](std::size_t on) { tiny_.processors[on].busy = false; });
    load_image("bad");
    ASSERT_TRUE(machine_.resume());
    ASSERT_EQ(machine_.halt(), Machine::Halt::halted);
    watch({});
    tiny_.processors[0].busy = true;
    kernel_.continue_load(0);
    run();
    EXPECT_EQ(answers(), Answers{-EPERM});
    EXPECT_EQ(event().call, "load_module");
    EXPECT_EQ(event().decision.effective(), Verdict::refuse);
    EXPECT_EQ(records_.attempts, Lines{"bad"});
    EXPECT_EQ(watch_->attempts(), 1U);
}

TEST_P(WatchCallTest, ReturnsAreWatchedAsLongAsATaskIsInACall) {
    watch({});
    EXPECT_FALSE(stops_at_returns()) << "a breakpoint slows the guest down even if nobody comes there";
    begin_load_that_sleeps();
    EXPECT_TRUE(stops_at_returns());
    kernel_.in_fget = nullptr;
    load_file("bad", 4, 1, 1); // another task's load begins and ends meanwhile
    run();
    EXPECT_EQ(answers(), Answers{-EPERM});
    EXPECT_TRUE(stops_at_returns()) << "the first one is in its call yet";
    tiny_.processors[0].busy = true;
    run();
    EXPECT_EQ(answers(), (Answers{0, -EPERM}));
    EXPECT_TRUE(is_quiet());
}

TEST_P(WatchCallTest, ATaskThatWasNotSeenToReturnMayStillBeInACall) {
    watch({});
    kernel_.answers_itself = true;
    load_file("good");
    run();
    watch_->record_unanswered(Watch::Clock::now() + seconds(5));
    EXPECT_TRUE(stops_at_returns()) << "recorded as it is, the call may be waiting for its file yet";
    kernel_.answers_itself = false;
    load_file("bad", 4, 1, 1);
    run();
    EXPECT_TRUE(stops_at_returns());
    load_file("good", 3, 0, 0); // it makes another call, so it is back from that one
    run();
    EXPECT_TRUE(is_quiet());
}

TEST_P(WatchCallTest, AfterMoreCallsThanAreToldApartReturnsStayWatched) {
    watch({});
    kernel_.answers_itself = true;
    constexpr std::uint64_t first = 200; // whose stack is behind all else
    constexpr std::uint64_t many = 18;
    tiny_.map(addresses_.text_begin + 0x14'0000, 0x4000 * (first + many)); // images, too
    for (std::uint64_t task = first; task < first + many; ++task) {
        load_file("good", 3, 0, task);
        run();
    }
    kernel_.answers_itself = false;
    for (std::uint64_t task = first; task < first + many; ++task) {
        load_file("good", 3, 0, task);
        run();
    }
    EXPECT_TRUE(stops_at_returns());
}

/// By whichever way a task comes there: out of a snapshot, too.
TEST_P(WatchCallTest, LoadModuleIsAlwaysWatched) {
    const auto is_watched = [this] { return tiny_.breakpoints.contains(addresses_.load_module.front()); };
    watch({});
    EXPECT_TRUE(is_watched());
    load_file("good");
    run();
    EXPECT_TRUE(is_watched());
    EXPECT_TRUE(is_quiet());
}

TEST_P(WatchCallTest, GuestThatEndsIsNoError) {
    watch({});
    ASSERT_TRUE(machine_.resume());
    tiny_.hang_up();
    EXPECT_EQ(machine_.poll(seconds(60)), Machine::Polled::ended);
}

} // namespace
} // namespace kmodguard::guest
