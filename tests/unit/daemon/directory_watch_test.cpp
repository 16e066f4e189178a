// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows that changes in the watched directories are told, once for many at a time, also in directories that
// did not exist at first.
#include "daemon/watches.hpp"
#include "temporary_directory.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <optional>

namespace kmodguard::daemon {
namespace {

class DirectoryWatchTest : public ::testing::Test {
  protected:
    DirectoryWatchTest() {
        sd_event* loop = nullptr;
        EXPECT_GE(sd_event_new(&loop), 0);
        loop_.reset(loop);
    }
    void watch(std::vector<std::filesystem::path> directories) {
        watch_.emplace(loop_.get(), std::move(directories), [this] { ++told; });
    }
    void run_until_told(int count) {
        constexpr std::uint64_t a_minute = 60'000'000;
        while (told < count)
            ASSERT_GT(sd_event_run(loop_.get(), a_minute), 0) << "not told";
    }
    /// Whether there is something to tell that was not told yet. What has been seen is told after a while of
    /// quiet; so a timer of the same length, which is set when all has been seen, and comes last of what is
    /// due, ends later.
    bool more_comes() {
        const int before = told;
        while (sd_event_run(loop_.get(), 0) > 0) {
        }
        bool over = false;
        const auto on_timer = [](sd_event_source*, std::uint64_t, void* flag) {
            *static_cast<bool*>(flag) = true;
            return 0;
        };
        sd_event_source* timer = nullptr;
        EXPECT_GE(sd_event_add_time_relative(loop_.get(), &timer, CLOCK_MONOTONIC,
                                             DirectoryWatch::quiet.count(), 1, on_timer, &over),
                  0);
        const EventSource last(timer);
        EXPECT_GE(sd_event_source_set_priority(timer, SD_EVENT_PRIORITY_IDLE), 0);
        while (!over)
            sd_event_run(loop_.get(), UINT64_MAX);
        return told != before;
    }

    test::TemporaryDirectory directory;
    int told = 0;

  private:
    EventLoop loop_;
    std::optional<DirectoryWatch> watch_;
};

TEST_F(DirectoryWatchTest, TellsManyChangesOnce) {
    watch({directory.path()});
    for (int i = 0; i < 12; ++i)
        directory.write("modules." + std::to_string(i), "x");
    run_until_told(1);
    EXPECT_FALSE(more_comes());
    EXPECT_EQ(told, 1);
}

TEST_F(DirectoryWatchTest, TellsRewritingRenamingAndRemoving) {
    directory.write("a", "1");
    watch({directory.path()});
    directory.write("a", "2");
    run_until_told(1);
    std::filesystem::rename(directory / "a", directory / "b");
    run_until_told(2);
    std::filesystem::remove(directory / "b");
    run_until_told(3);
}

TEST_F(DirectoryWatchTest, TellsOfADirectoryThatComesLaterAndWatchesItThen) {
    watch({directory / "one/two"});
    std::filesystem::create_directory(directory / "one");
    run_until_told(1);
    std::filesystem::create_directory(directory / "one/two");
    run_until_told(2);
    directory.write("one/two/file", "x");
    run_until_told(3);
}

TEST_F(DirectoryWatchTest, TellsNothingOfOtherDirectories) {
    std::filesystem::create_directory(directory / "watched");
    std::filesystem::create_directory(directory / "other");
    watch({directory / "watched"});
    directory.write("other/file", "x");
    EXPECT_FALSE(more_comes());
}

TEST_F(DirectoryWatchTest, WatchesEachOfSeveral) {
    std::filesystem::create_directory(directory / "one");
    std::filesystem::create_directory(directory / "two");
    watch({directory / "one", directory / "two", directory / "missing"});
    directory.write("two/file", "x");
    run_until_told(1);
    directory.write("one/file", "x");
    run_until_told(2);
}

} // namespace
} // namespace kmodguard::daemon
