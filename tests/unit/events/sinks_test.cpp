// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows what ends up in the JSON-lines file and on standard error, and who may read it.
#include "events/sinks.hpp"
#include "temporary_directory.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <climits>
#include <csignal>
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

void write(Sink& sink, const Event& event) {
    sink.write({&event, 1});
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
        write(**sink, event_of(token, core::Verdict::refuse));
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
        write(**sink, Loss{.count = 17});
        write(**sink, event_of("a\nb", core::Verdict::allow));
    }
    const auto objects = objects_in(path);
    ASSERT_EQ(objects.size(), 2U);
    EXPECT_EQ(objects[0]["lost"], 17);
    EXPECT_TRUE(objects[0].contains("time"));
    EXPECT_EQ(objects[1]["token"], "a\nb");
}

std::vector<Event> many_events(std::size_t count) {
    std::vector<Event> events;
    for (std::size_t i = 0; i < count; ++i)
        events.emplace_back(event_of("token " + std::to_string(i), core::Verdict::allow));
    return events;
}

TEST_F(JsonLinesTest, ManyEventsAtATimeAreALineEachInTheirOrder) {
    const std::vector<Event> events = many_events(1000);
    auto sink = json_lines_sink(path);
    ASSERT_TRUE(sink);
    (*sink)->write(events);
    const auto objects = objects_in(path); // written, though the sink is there still
    ASSERT_EQ(objects.size(), events.size());
    for (std::size_t i = 0; i < objects.size(); ++i)
        EXPECT_EQ(objects[i]["token"], "token " + std::to_string(i));
}

/// As a full disk does: what does not fit is cut short.
class FileSizeLimit {
  public:
    explicit FileSizeLimit(rlim_t limit) : before_(std::signal(SIGXFSZ, SIG_IGN)) {
        ::getrlimit(RLIMIT_FSIZE, &limit_);
        const rlimit lower{.rlim_cur = limit, .rlim_max = limit_.rlim_max};
        ::setrlimit(RLIMIT_FSIZE, &lower);
    }
    FileSizeLimit(const FileSizeLimit&) = delete;
    FileSizeLimit& operator=(const FileSizeLimit&) = delete;
    ~FileSizeLimit() {
        ::setrlimit(RLIMIT_FSIZE, &limit_);
        std::signal(SIGXFSZ, before_);
    }

  private:
    rlimit limit_{};
    void (*before_)(int);
};

std::size_t lines_in(const std::string& text) {
    return static_cast<std::size_t>(std::ranges::count(text, '\n'));
}

TEST_F(JsonLinesTest, WhatDoesNotFitIsCutShortOnceAndSaidOnceAndTheNextLineIsWhole) {
    const std::vector<Event> events = many_events(10);
    auto sink = json_lines_sink(path);
    ASSERT_TRUE(sink);
    (*sink)->write(events);
    const auto size = std::filesystem::file_size(path);
    testing::internal::CaptureStderr();
    {
        const FileSizeLimit limit(size + size / 4); // ends in the third line of the next ten
        (*sink)->write(events);
    }
    write(**sink, event_of("next", core::Verdict::allow));
    EXPECT_EQ(testing::internal::GetCapturedStderr(),
              "kmodguard: " + path.native() + " cannot be written: lines are lost\n");
    std::ifstream file(path);
    std::vector<std::string> lines;
    for (std::string line; std::getline(file, line);)
        lines.push_back(line);
    ASSERT_EQ(lines.size(), 14U) << "ten, two, one that is cut short, and the next";
    for (std::size_t i = 0; i < lines.size(); ++i)
        EXPECT_EQ(nlohmann::json::accept(lines[i]), i != 12) << lines[i];
    EXPECT_EQ(nlohmann::json::parse(lines.back())["token"], "next");
}

TEST_F(JsonLinesTest, WhatACrashHasCutShortIsEndedBeforeTheNextLine) {
    std::ofstream(path) << R"({"token":"whole"})" << '\n' << R"({"token":"cut sh)";
    for (const char* token : {"first", "second"}) {
        auto sink = json_lines_sink(path);
        ASSERT_TRUE(sink);
        write(**sink, event_of(token, core::Verdict::allow));
    }
    std::ifstream file(path);
    std::vector<std::string> lines;
    for (std::string line; std::getline(file, line);)
        lines.push_back(line);
    ASSERT_EQ(lines.size(), 4U);
    EXPECT_EQ(lines[1], R"({"token":"cut sh)");
    EXPECT_EQ(nlohmann::json::parse(lines[2])["token"], "first");
    EXPECT_EQ(nlohmann::json::parse(lines[3])["token"], "second");
}

/// A pipe takes no more in one piece, and others write to it.
TEST(JsonStderrSink, WritesNoMoreAtATimeThanAPipeTakesInOnePiece) {
    int ends[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0); // one packet each write
    const sys::UniqueFd reader(ends[0]);
    const sys::UniqueFd before(::dup(STDERR_FILENO));
    const std::vector<Event> events = many_events(100);
    ::dup2(ends[1], STDERR_FILENO);
    ::close(ends[1]);
    auto sink = json_stderr_sink();
    ::dup2(before.get(), STDERR_FILENO);
    sink->write(events);
    sink.reset();
    std::string all;
    std::array<char, 65536> packet; // NOLINT(*-member-init): recv() fills it
    for (ssize_t size = 0; (size = ::recv(reader.get(), packet.data(), packet.size(), 0)) > 0;) {
        EXPECT_LE(size, PIPE_BUF);
        all.append(packet.data(), static_cast<std::size_t>(size));
        EXPECT_EQ(all.back(), '\n');
    }
    EXPECT_EQ(lines_in(all), events.size());
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
        write(**sink, LogLine{"/lib/a.ko", ""});
        write(**sink, LogLineLoss{.count = 17});
        write(**sink, LogLine{"b", ""});
    }
    std::ifstream file(path);
    EXPECT_EQ(std::string(std::istreambuf_iterator<char>(file), {}),
              "/lib/a.ko\n# 17 attempts are missing here\nb\n");
}

TEST(StderrSink, ShowsRefusalsAndLossesOnly) {
    const auto sink = stderr_sink();
    testing::internal::CaptureStderr();
    write(*sink, event_of("fine", core::Verdict::allow));
    Attempt bad = event_of("bad", core::Verdict::refuse);
    bad.decision.reason = core::Reason::denied_token;
    write(*sink, bad);
    write(*sink, Loss{.count = 3});
    EXPECT_EQ(testing::internal::GetCapturedStderr(),
              "autoload bad: refused: bad is asked for by a denied alias\n"
              "3 events were lost: logging could not keep up\n");
}

} // namespace
} // namespace kmodguard::events
