// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows what ends up in the JSON-lines file and on standard error, and who may read it.
#include "events/sinks.hpp"
#include "temporary_directory.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sys/stat.h>

#include <fstream>
#include <sstream>

namespace kmodguard::events {
namespace {

Attempt event_of(const std::string& token, core::Verdict judged) {
    Attempt event(core::Point::autoload, 0, {});
    event.decision.token = token;
    event.decision.judged = judged;
    event.decision.reason =
        judged == core::Verdict::allow ? core::Reason::listed : core::Reason::no_such_module;
    return event;
}

std::vector<nlohmann::json> objects_in(const std::filesystem::path& path) {
    std::ifstream file(path);
    std::vector<nlohmann::json> objects;
    for (std::string line; std::getline(file, line);)
        objects.push_back(nlohmann::json::parse(line));
    return objects;
}

mode_t mode_of(const std::filesystem::path& path) {
    struct stat status{};
    EXPECT_EQ(::stat(path.c_str(), &status), 0);
    return status.st_mode & 07777U;
}

class JsonLinesTest : public ::testing::Test {
  protected:
    test::TemporaryDirectory directory;
    const std::filesystem::path path = directory / "events.jsonl";
};

TEST_F(JsonLinesTest, AppendsAnObjectALineAndIsTheOwnersAlone) {
    const mode_t before = ::umask(0);
    for (const char* token : {"first", "second"}) {
        auto sink = json_lines_sink(path);
        ASSERT_TRUE(sink) << sink.error().what;
        (*sink)->write(event_of(token, core::Verdict::refuse));
    }
    ::umask(before);
    EXPECT_EQ(mode_of(path), 0600U);
    const auto objects = objects_in(path);
    ASSERT_EQ(objects.size(), 2U);
    EXPECT_EQ(objects[0]["token"], "first");
    EXPECT_EQ(objects[1]["token"], "second");
}

TEST_F(JsonLinesTest, LossesAreObjectsToo) {
    {
        auto sink = json_lines_sink(path);
        ASSERT_TRUE(sink);
        (*sink)->write(Loss{.count = 17});
        (*sink)->write(event_of("a\nb", core::Verdict::allow));
    }
    const auto objects = objects_in(path);
    ASSERT_EQ(objects.size(), 2U);
    EXPECT_EQ(objects[0]["lost"], 17);
    EXPECT_TRUE(objects[0].contains("time"));
    EXPECT_EQ(objects[1]["token"], "a\nb");
}

TEST_F(JsonLinesTest, SymbolicLinkIsNotFollowed) {
    std::filesystem::create_symlink(directory / "elsewhere", path);
    const auto sink = json_lines_sink(path);
    ASSERT_FALSE(sink);
    EXPECT_NE(sink.error().what.find(path.native()), std::string::npos);
    EXPECT_FALSE(std::filesystem::exists(directory / "elsewhere"));
}

TEST_F(JsonLinesTest, PlaceThatCannotBeWrittenIsAnError) {
    const auto sink = json_lines_sink(directory / "missing/events.jsonl");
    ASSERT_FALSE(sink);
    EXPECT_EQ(sink.error().kind, sys::ErrorKind::not_found);
}

TEST_F(JsonLinesTest, LossesAreMarkedInModulesLog) {
    {
        auto sink = modules_log_sink(path);
        ASSERT_TRUE(sink);
        (*sink)->write(LogLine{"/lib/a.ko", ""});
        (*sink)->write(LogLineLoss{.count = 17});
        (*sink)->write(LogLine{"b", ""});
    }
    std::ifstream file(path);
    EXPECT_EQ(std::string(std::istreambuf_iterator<char>(file), {}),
              "/lib/a.ko\n# 17 attempts are missing here\nb\n");
}

TEST(StderrSink, ShowsRefusalsAndLossesOnly) {
    const auto sink = stderr_sink();
    testing::internal::CaptureStderr();
    sink->write(event_of("fine", core::Verdict::allow));
    Attempt bad = event_of("bad", core::Verdict::refuse);
    bad.decision.reason = core::Reason::denied_token;
    sink->write(bad);
    sink->write(Loss{.count = 3});
    EXPECT_EQ(testing::internal::GetCapturedStderr(),
              "autoload bad: refused: bad is asked for by a denied alias\n"
              "3 events were lost: logging could not keep up\n");
}

} // namespace
} // namespace kmodguard::events
