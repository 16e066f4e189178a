// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows that modules.log keeps the order of the attempts, and that one that hangs keeps others waiting
// neither long nor with many.
#include "enforce/process/log_order.hpp"
#include "event_sink.hpp"

#include <gtest/gtest.h>

#include <optional>
#include <vector>

namespace kmodguard::process {
namespace {

struct Lines final : test::EventSink {
    explicit Lines(std::vector<std::string>& into) : into_(into) {}
    void take(const events::Event& event) override { into_.push_back(std::get<events::LogLine>(event).text); }
    std::vector<std::string>& into_;
};

TEST(LogOrder, LinesAreWrittenInTheirOrderHoweverTheyGetReady) {
    std::vector<std::string> lines;
    {
        std::vector<std::unique_ptr<events::Sink>> sinks;
        sinks.push_back(std::make_unique<Lines>(lines));
        events::Recorder recorder(std::move(sinks));
        LogOrder order(recorder, "");
        LogOrder::Line first(order);
        std::optional<LogOrder::Line> second(std::in_place, order);
        LogOrder::Line third(order);
        third.write("third");
        second.reset();
        recorder.flush();
        EXPECT_TRUE(lines.empty());
        first.write("first");
        LogOrder::Line(order).write("fourth");
    }
    EXPECT_EQ(lines, (std::vector<std::string>{"first", "third", "fourth"}));
}

TEST(LogOrder, DoesNotWaitLongForOneThatHangs) {
    std::vector<std::string> lines;
    {
        std::vector<std::unique_ptr<events::Sink>> sinks;
        sinks.push_back(std::make_unique<Lines>(lines));
        events::Recorder recorder(std::move(sinks));
        LogOrder order(recorder, "");
        const auto now = LogOrder::Clock::now();
        LogOrder::Line hanging(order);
        LogOrder::Line(order).write("early", now);
        recorder.flush();
        EXPECT_TRUE(lines.empty());
        LogOrder::Line(order).write("late", now + std::chrono::seconds(3));
        recorder.flush();
        EXPECT_EQ(lines, (std::vector<std::string>{"early", "late"}));
        hanging.write("at last", now);
    }
    EXPECT_EQ(lines, (std::vector<std::string>{"early", "late", "at last"}));
}

TEST(LogOrder, DoesNotWaitForEverForOneThatHangs) {
    constexpr int many = 5000;
    std::vector<std::string> lines;
    {
        std::vector<std::unique_ptr<events::Sink>> sinks;
        sinks.push_back(std::make_unique<Lines>(lines));
        events::Recorder recorder(std::move(sinks), 2 * many * events::Recorder::room_for(events::LogLine{}));
        LogOrder order(recorder, "");
        LogOrder::Line hanging(order);
        for (int i = 0; i < many; ++i)
            LogOrder::Line(order).write(std::to_string(i));
        recorder.flush();
        ASSERT_EQ(lines.size(), std::size_t{many});
        EXPECT_EQ(lines.front(), "0");
        EXPECT_EQ(lines.back(), std::to_string(many - 1));
        hanging.write("at last");
    }
    EXPECT_EQ(lines.back(), "at last");
}

} // namespace
} // namespace kmodguard::process
