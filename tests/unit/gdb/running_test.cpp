// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows how a machine is let run and stopped: that each resume() has exactly one stop, whoever causes it, and
// that a debugger knows whether the machine runs.
#include "fake_stub.hpp"
#include "gdb/remote_packet.hpp"

#include <gtest/gtest.h>
#include <poll.h>

namespace kmodguard::gdb {
namespace {

using namespace std::chrono_literals;
using sys::ErrorKind;
using test::FakeStub;
using test::first;
using test::is_running;
using test::kind_of;
using test::read_register;
using test::write_register;
using Commands = std::vector<std::string>;

Stop stop_of(Client& debugger) {
    const auto stop = debugger.wait_stop(60s);
    EXPECT_TRUE(stop && *stop) << (stop ? "still running" : stop.error().what);
    return stop && *stop ? **stop : Stop{};
}

TEST(Breakpoints, AreSetOnceAndRemovedOnce) {
    FakeStub stub;
    auto debugger = stub.connected();
    ASSERT_TRUE(debugger.insert_breakpoint(0xffffffff81000000, 1));
    ASSERT_TRUE(debugger.insert_breakpoint(0xffffffff81000000, 1));
    ASSERT_TRUE(debugger.remove_breakpoint(0xffffffff81000000));
    ASSERT_TRUE(debugger.remove_breakpoint(0xffffffff81000000));
    EXPECT_EQ(stub.commands(), (Commands{"Z1,ffffffff81000000,1", "z1,ffffffff81000000,1"}));
}

TEST(Breakpoints, ThatTheStubRefusesAreNotSet) {
    FakeStub stub;
    stub.answer("Z1,1000,4", "E22");
    stub.answer("Z1,2000,4", "");
    auto debugger = stub.connected();
    EXPECT_EQ(kind_of(debugger.insert_breakpoint(0x1000, 4)), ErrorKind::not_found);
    EXPECT_EQ(kind_of(debugger.insert_breakpoint(0x2000, 4)), ErrorKind::invalid);
    ASSERT_TRUE(debugger.remove_breakpoint(0x1000));
    EXPECT_EQ(stub.commands(), (Commands{"Z1,1000,4", "Z1,2000,4"})) << "there is none to remove";
}

TEST(Running, EndsAtABreakpoint) {
    FakeStub stub;
    auto debugger = stub.connected();
    ASSERT_TRUE(debugger.resume());
    EXPECT_TRUE(is_running(debugger));
    auto stop = debugger.wait_stop(0ms);
    ASSERT_TRUE(stop);
    EXPECT_FALSE(*stop) << "it still runs";
    stub.hit_breakpoint();
    EXPECT_EQ(stop_of(debugger),
              (Stop{.kind = Stop::Kind::stopped, .signal = signal_trap, .thread = {1, 2}}));
    EXPECT_FALSE(is_running(debugger));
}

TEST(Running, StopCanBeWaitedForWithPoll) {
    FakeStub stub;
    auto debugger = stub.connected();
    ASSERT_TRUE(debugger.resume());
    EXPECT_FALSE(debugger.has_buffered());
    stub.hit_breakpoint();
    pollfd poll{.fd = debugger.fd(), .events = POLLIN, .revents = 0};
    ASSERT_EQ(::poll(&poll, 1, 60000), 1);
    const auto stop = debugger.wait_stop(0ms);
    EXPECT_TRUE(stop && *stop);
}

TEST(Running, StopThatCameWithTheAcknowledgementIsBuffered) {
    FakeStub stub;
    stub.answer("vCont;c", "T05thread:p01.01;"); // at once: it stands on a breakpoint
    auto debugger = stub.connected();
    ASSERT_TRUE(debugger.resume());
    if (!debugger.has_buffered()) { // where the two did not come together, poll tells
        pollfd poll{.fd = debugger.fd(), .events = POLLIN, .revents = 0};
        ASSERT_EQ(::poll(&poll, 1, 60000), 1);
    }
    const auto stop = debugger.wait_stop(0ms);
    EXPECT_TRUE(stop && *stop);
    EXPECT_FALSE(debugger.has_buffered());
}

TEST(Running, IsEndedByAnInterrupt) {
    FakeStub stub;
    auto debugger = stub.connected();
    ASSERT_TRUE(debugger.resume());
    ASSERT_TRUE(debugger.interrupt());
    EXPECT_EQ(stop_of(debugger).signal, signal_interrupt);
    EXPECT_EQ(stub.commands(), (Commands{"vCont;c", "^C"}));
}

void interrupt_during_a_breakpoints_stop(FakeStub& stub, Client& debugger) {
    ASSERT_TRUE(debugger.resume());
    stub.hit_breakpoint();
    ASSERT_TRUE(debugger.interrupt()); // the stop is on its way
    ASSERT_TRUE(debugger.interrupt());
    EXPECT_EQ(stop_of(debugger).signal, signal_trap);
    EXPECT_FALSE(debugger.has_buffered());
    ASSERT_TRUE(debugger.threads()) << "the interrupts do not disturb what comes after";
}

TEST(Running, InterruptDuringABreakpointsStopMakesNoSecondStop) {
    FakeStub stub;
    auto debugger = stub.connected();
    for (int round = 0; round < 50 && !::testing::Test::HasFailure(); ++round)
        interrupt_during_a_breakpoints_stop(stub, debugger);
}

TEST(Running, InterruptOfAStoppedMachineSendsNothing) {
    FakeStub stub;
    auto debugger = stub.connected();
    ASSERT_TRUE(debugger.interrupt());
    ASSERT_TRUE(debugger.threads());
    EXPECT_EQ(stub.commands().front(), "qfThreadInfo");
}

/// What calls that need a stopped machine end with.
std::vector<ErrorKind> kinds_of_all_commands(Client& debugger) {
    std::array<std::byte, 1> byte{};
    return {kind_of(read_register(debugger, first, {})),
            kind_of(write_register(debugger, first, {}, 0)),
            kind_of(debugger.read_memory(first, 0, byte)),
            kind_of(debugger.write_memory(first, 0, byte)),
            kind_of(debugger.threads()),
            kind_of(debugger.monitor("info")),
            kind_of(debugger.insert_breakpoint(0x2000, 1)),
            kind_of(debugger.remove_breakpoint(0x1000)),
            kind_of(debugger.step(first)),
            kind_of(debugger.resume()),
            kind_of(debugger.detach())};
}

TEST(Running, NothingElseIsSentToARunningMachine) {
    FakeStub stub;
    auto debugger = stub.connected();
    ASSERT_TRUE(debugger.insert_breakpoint(0x1000, 1));
    ASSERT_TRUE(debugger.resume());
    EXPECT_EQ(kinds_of_all_commands(debugger), std::vector(11, ErrorKind::failed));
    EXPECT_EQ(stub.commands(), (Commands{"Z1,1000,1", "vCont;c"}));
    EXPECT_TRUE(is_running(debugger));
}

TEST(Running, WaitingForAStopOfAStoppedMachineIsAnError) {
    FakeStub stub;
    auto debugger = stub.connected();
    EXPECT_EQ(kind_of(debugger.wait_stop(60s)), ErrorKind::failed);
}

TEST(Running, OutputOnTheWayIsSkipped) {
    FakeStub stub;
    auto debugger = stub.connected();
    stub.answer_raw("vCont;c", "+" + encode_packet("O48690a") + encode_packet("O") + encode_packet("S05"));
    ASSERT_TRUE(debugger.resume());
    EXPECT_EQ(stop_of(debugger).signal, signal_trap);
}

TEST(Running, MachineThatIsNotLetRunStandsStill) {
    FakeStub stub;
    auto debugger = stub.connected();
    for (const char* answer : {"E22", ""}) {
        stub.answer("vCont;c", answer);
        ASSERT_TRUE(debugger.resume());
        EXPECT_EQ(kind_of(debugger.wait_stop(60s)), ErrorKind::not_found);
        EXPECT_FALSE(is_running(debugger));
    }
    EXPECT_TRUE(debugger.threads());
}

TEST(Step, RunsOneProcessorAndWaits) {
    FakeStub stub;
    auto debugger = stub.connected();
    const auto stop = debugger.step({1, 2});
    ASSERT_TRUE(stop) << stop.error().what;
    EXPECT_EQ(stop->thread, (ThreadId{1, 2}));
    EXPECT_FALSE(is_running(debugger));
    EXPECT_EQ(stub.commands(), Commands{"vCont;s:p1.2"});
}

TEST(Step, ThatDoesNotEndLeavesARunningMachineThatCanBeInterrupted) {
    // Too little time for the step to begin, on a busy machine, shows nothing: then there is more the next
    // time.
    ErrorKind kind = ErrorKind::unreachable;
    for (auto timeout = 50ms; kind == ErrorKind::unreachable && timeout < 60s; timeout *= 10) {
        FakeStub stub;
        stub.answer_raw("vCont;s:p1.1", "+");
        auto debugger = stub.connected();
        debugger.set_answer_timeout(timeout);
        kind = kind_of(debugger.step(first));
        if (kind == ErrorKind::unreachable) continue;
        EXPECT_TRUE(is_running(debugger));
        stub.send(encode_packet("T02thread:p01.01;"));
        EXPECT_EQ(stop_of(debugger).signal, signal_interrupt);
        debugger.set_answer_timeout(60s);
        EXPECT_TRUE(debugger.threads());
    }
    EXPECT_EQ(kind, ErrorKind::failed);
}

TEST(Detach, RemovesBreakpointsLetsTheMachineRunAndCloses) {
    FakeStub stub;
    auto debugger = stub.connected();
    ASSERT_TRUE(debugger.insert_breakpoint(0x1000, 4));
    ASSERT_TRUE(debugger.insert_breakpoint(0x2000, 4));
    ASSERT_TRUE(debugger.detach());
    EXPECT_EQ(stub.commands(), (Commands{"Z1,1000,4", "Z1,2000,4", "z1,1000,4", "z1,2000,4", "D;1"}));
    EXPECT_EQ(debugger.fd(), -1);
    EXPECT_EQ(kinds_of_all_commands(debugger), std::vector(11, ErrorKind::unreachable));
    EXPECT_EQ(kind_of(debugger.wait_stop(60s)), ErrorKind::unreachable);
    EXPECT_EQ(kind_of(debugger.interrupt()), ErrorKind::unreachable);
}

TEST(Detach, DoesNotHappenByItself) {
    FakeStub stub;
    {
        auto debugger = stub.connected();
        ASSERT_TRUE(debugger.insert_breakpoint(0x1000, 4));
    }
    EXPECT_EQ(stub.commands(), Commands{"Z1,1000,4"}) << "a guest whose guard died stays frozen";
}

TEST(Exit, WhileTheMachineRunsIsAStop) {
    FakeStub stub;
    stub.answer("vCont;c", "W01");
    auto debugger = stub.connected();
    ASSERT_TRUE(debugger.resume());
    EXPECT_EQ(stop_of(debugger), (Stop{.kind = Stop::Kind::exited, .signal = 0, .thread = {}, .status = 1}));
    EXPECT_FALSE(is_running(debugger));
    EXPECT_EQ(kind_of(debugger.resume()), ErrorKind::unreachable);
}

TEST(Exit, WithoutAWordIsAStopToo) {
    FakeStub stub;
    auto debugger = stub.connected();
    ASSERT_TRUE(debugger.resume());
    stub.wait_for_commands(1);
    stub.hang_up();
    EXPECT_EQ(stop_of(debugger), (Stop{.kind = Stop::Kind::exited, .signal = 0, .thread = {}}));
    EXPECT_EQ(kind_of(debugger.wait_stop(60s)), ErrorKind::unreachable);
}

TEST(Exit, DuringACommandIsUnreachable) {
    FakeStub stub;
    auto debugger = stub.connected();
    stub.hang_up();
    EXPECT_EQ(kind_of(debugger.threads()), ErrorKind::unreachable);
    EXPECT_EQ(kind_of(debugger.threads()), ErrorKind::unreachable) << "and stays so";
}

} // namespace
} // namespace kmodguard::gdb
