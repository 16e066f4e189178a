// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows what a trace has: the topics that were asked for and no others, each message on one line, whatever is
// in it.
#include "sys/trace.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

namespace kmodguard::sys {
namespace {

class TraceTest : public ::testing::Test {
  protected:
    void TearDown() override { ASSERT_TRUE(start_trace("")); }

    template <typename Use>
    static std::string traced(Use use) {
        testing::internal::CaptureStderr();
        use();
        return testing::internal::GetCapturedStderr();
    }
};

TEST_F(TraceTest, IsOffUnlessItIsAskedFor) {
    EXPECT_EQ(traced([] { trace(Topic::cache, "x"); }), "");
}

TEST_F(TraceTest, HasTheTopicsThatWereAskedFor) {
    ASSERT_TRUE(start_trace("packets,bpf"));
    EXPECT_EQ(traced([] {
                  trace(Topic::packets, "-> {}", "qSupported");
                  trace(Topic::cache, "no");
                  trace(Topic::bpf, "loaded {} programs", 5);
              }),
              "debug packets: -> qSupported\ndebug bpf: loaded 5 programs\n");
    ASSERT_TRUE(start_trace("all"));
    for (const Topic topic : {Topic::packets, Topic::bpf, Topic::cache, Topic::decisions, Topic::calls})
        EXPECT_TRUE(is_traced(topic));
}

TEST_F(TraceTest, UnknownTopicIsAnErrorAndTracesNothing) {
    for (const char* text : {"packet", "packets,,bpf", "packets bpf", "2"}) {
        const auto started = start_trace(text);
        ASSERT_FALSE(started) << text;
        EXPECT_EQ(started.error().kind, ErrorKind::invalid);
        EXPECT_FALSE(is_traced(Topic::packets));
    }
}

TEST_F(TraceTest, HostileTextStaysOnItsLineAndIsCut) {
    ASSERT_TRUE(start_trace("decisions"));
    EXPECT_EQ(traced([] { trace(Topic::decisions, "{}", std::string("a\nb\x1b[2J\xff\0c", 10)); }),
              "debug decisions: a\\x0ab\\x1b[2J\\xff\\x00c\n");
    const std::string line = traced([] { trace(Topic::decisions, "{}", std::string(100'000, '\n')); });
    EXPECT_LT(line.size(), 1100U);
    EXPECT_TRUE(line.ends_with("...\n"));
    EXPECT_EQ(std::ranges::count(line, '\n'), 1);
}

} // namespace
} // namespace kmodguard::sys
