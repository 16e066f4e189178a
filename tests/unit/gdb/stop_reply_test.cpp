// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows how stops are read, QEMU's own ones first.
#include "gdb/remote_packet.hpp"

#include <gtest/gtest.h>

namespace kmodguard::gdb {
namespace {

using StopKind = Stop::Kind;

Stop parsed(std::string_view payload) {
    const auto stop = parse_stop_reply(payload);
    EXPECT_TRUE(stop && *stop) << payload;
    return stop && *stop ? **stop : Stop{};
}

TEST(StopReply, BreakpointOfOneProcessor) {
    EXPECT_EQ(parsed("T05thread:p01.02;"),
              (Stop{.kind = StopKind::stopped, .signal = signal_trap, .thread = {1, 2}}));
    EXPECT_EQ(parsed("T02thread:01;"),
              (Stop{.kind = StopKind::stopped, .signal = signal_interrupt, .thread = {0, 1}}));
    EXPECT_EQ(parsed("T05thread:p01.02;watch:ffff0010;"), parsed("T05thread:p01.02;")) << "a watchpoint";
    EXPECT_EQ(parsed("T05hwbreak:;10:0000;thread:p1.a;core:2"),
              (Stop{.kind = StopKind::stopped, .signal = 5, .thread = {1, 10}}));
}

TEST(StopReply, StopWithoutAProcessor) {
    EXPECT_EQ(parsed("S05"), (Stop{.kind = StopKind::stopped, .signal = 5, .thread = {}}));
    EXPECT_EQ(parsed("T05"), parsed("S05"));
    EXPECT_EQ(parsed("T05;;;"), parsed("S05"));
}

TEST(StopReply, EndOfTheEmulator) {
    EXPECT_EQ(parsed("W00"), (Stop{.kind = StopKind::exited, .signal = 0, .thread = {}, .status = 0}));
    EXPECT_EQ(parsed("W2a;process:1").status, 42);
    EXPECT_EQ(parsed("X0f").status, 128 + 15) << "as shells tell that a signal ended it";
}

TEST(StopReply, OutputIsNoStop) {
    for (const char* payload : {"O", "O48656c6c6f"}) {
        const auto stop = parse_stop_reply(payload);
        EXPECT_TRUE(stop && !*stop) << payload;
    }
}

TEST(StopReply, AnythingElseIsMalformed) {
    for (const char* payload : {"",
                                "T",
                                "T0",
                                "Txx",
                                "T-1",
                                "T05thread:;",
                                "T05thread:p1;",
                                "T05thread:p1.-1;",
                                "T05thread:p1.100000000;",
                                "T05thread:all",
                                "S",
                                "S0",
                                "S05x",
                                "W",
                                "W0x",
                                "W00x",
                                "OK",
                                "E14",
                                "l",
                                "m0",
                                "O5g",
                                "t05",
                                "05"}) {
        const auto stop = parse_stop_reply(payload);
        ASSERT_FALSE(stop) << payload;
        EXPECT_EQ(stop.error().kind, sys::ErrorKind::invalid);
    }
}

TEST(ThreadIds, AreWrittenAsTheyAreRead) {
    for (const char* text : {"p1.2", "2", "0", "pffffffff.ffffffff"})
        EXPECT_EQ(to_string(parse_thread_id(text).value()), text);
    for (const char* text : {"", "p", "p.", "p1", "p1.", "p.1", "-1", "p-1.-1", "1.2", "100000000", "p1.2.3"})
        EXPECT_FALSE(parse_thread_id(text)) << text;
}

} // namespace
} // namespace kmodguard::gdb
