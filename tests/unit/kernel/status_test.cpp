// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows that what the daemon knows of the kernel point reaches kmodctl as it is, and that every state has its
// words.
#include "enforce/kernel/status.hpp"

#include <gtest/gtest.h>

#include <set>

namespace kmodguard::kernel {
namespace {

Status sent(const Status& status) {
    protocol::Answer answer;
    answer.fields = fields_of(status);
    return status_of(answer);
}

Status active() {
    Status status{.state = State::active, .mechanism = Mechanism::fmod_ret, .sealed = true, .audit = true};
    status.generation = 7;
    status.modules = 57;
    return status;
}

TEST(KernelStatus, ArrivesAsItWasSent) {
    Status status = active();
    status.notes = {Note::no_securityfs, Note::may_skip};
    std::uint64_t count = 100;
    for (const Counter& counter : counter_table)
        status.counters.*counter.value = ++count;
    const Status got = sent(status);
    EXPECT_EQ(got.state, State::active);
    EXPECT_EQ(got.problem, Problem::none);
    EXPECT_EQ(got.notes, status.notes);
    EXPECT_EQ(got.mechanism, Mechanism::fmod_ret);
    EXPECT_TRUE(got.sealed);
    EXPECT_TRUE(got.audit);
    EXPECT_EQ(got.generation, 7U);
    EXPECT_EQ(got.modules, 57U);
    for (const Counter& counter : counter_table)
        EXPECT_EQ(got.counters.*counter.value, status.counters.*counter.value) << counter.name;
}

TEST(KernelStatus, EveryProblemHasWordsAndArrives) {
    std::set<std::string> sentences;
    for (Problem problem = Problem::other_root; problem != Problem::failed;
         problem = static_cast<Problem>(static_cast<int>(problem) + 1)) {
        const Status got = sent({.problem = problem});
        EXPECT_EQ(got.problem, problem);
        EXPECT_EQ(got.state, State::inactive);
        EXPECT_FALSE(error_of(got).what.empty());
        EXPECT_TRUE(sentences.insert(error_of(got).what).second) << error_of(got).what;
    }
}

TEST(KernelStatus, AFailureArrivesWithWhatToDo) {
    const Status got =
        sent({.problem = Problem::failed, .error = {sys::ErrorKind::failed, "no room", "make some"}});
    EXPECT_EQ(got.problem, Problem::failed);
    EXPECT_EQ(error_of(got).what, "no room");
    EXPECT_EQ(error_of(got).hint, "make some");
}

TEST(KernelStatus, OfOneThatIsNotEnforcedNothingIsCounted) {
    for (const protocol::Field& field : fields_of({.problem = Problem::left_out}))
        EXPECT_TRUE(field.key == "kernel-point-state" || field.key == "kernel-point-problem") << field.key;
}

/// An old daemon that says "kernel-point-active": whether it is active is then not known, which is not the
/// same as no.
TEST(KernelStatus, AnAnswerOfAnotherVersionIsNotTakenForInactive) {
    protocol::Answer answer;
    answer.fields = {{"kernel-point-active", "yes"}};
    EXPECT_EQ(status_of(answer).state, State::unknown);
    EXPECT_FALSE(error_of(status_of(answer)).what.empty());
    answer.fields = {{"kernel-point-state", "asleep"}};
    EXPECT_EQ(status_of(answer).state, State::unknown);
}

TEST(KernelStatus, CountersAreThoseOfThePrograms) {
    std::set<guard_counter> indexes;
    for (const Counter& counter : counter_table)
        if (counter.index) {
            EXPECT_TRUE(indexes.insert(*counter.index).second) << counter.name;
        }
    EXPECT_EQ(indexes.size(), std::size_t{GUARD_COUNTERS});
    EXPECT_EQ(*indexes.begin(), GUARD_ALLOWED);
}

} // namespace
} // namespace kmodguard::kernel
