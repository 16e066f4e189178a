// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows that a log which does not move holds up nobody, that what it cannot take is bounded and counted, and
// that what was queued is written before the end.
#include "event_sink.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <future>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

namespace kmodguard::events {
namespace {

using namespace std::string_literals;

/// What a sink was told, in order; and a gate that holds it up.
struct Log {
    std::mutex mutex;
    std::condition_variable changed;
    std::vector<std::string> lines;
    bool open = true;
    std::size_t entered = 0; ///< calls that came as far as the gate

    void pass(std::string line) {
        std::unique_lock lock(mutex);
        ++entered;
        changed.notify_all();
        changed.wait(lock, [this] { return open; });
        lines.push_back(std::move(line));
        changed.notify_all();
    }
    void set_open(bool value) {
        const std::scoped_lock lock(mutex);
        open = value;
        changed.notify_all();
    }
    template <typename Condition>
    void wait_until(Condition condition) {
        std::unique_lock lock(mutex);
        changed.wait(lock, condition);
    }
};

class LogSink final : public test::EventSink {
  public:
    explicit LogSink(Log& log) : log_(log) {}
    void take(const Event& event) override {
        if (const auto* attempt = std::get_if<Attempt>(&event)) {
            const std::string more = attempt->repeated == 0 ? "" : " + " + std::to_string(attempt->repeated);
            log_.pass(attempt->decision.token + more);
        }
        if (const auto* refusal = std::get_if<SealRefusal>(&event)) log_.pass(refusal->forbidden);
        if (const auto* line = std::get_if<LogLine>(&event)) log_.pass(line->text);
        if (const auto* loss = std::get_if<Loss>(&event)) log_.pass("lost " + std::to_string(loss->count));
        if (const auto* loss = std::get_if<LogLineLoss>(&event))
            log_.pass(std::to_string(loss->count) + " lines lost");
    }

  private:
    Log& log_;
};

Attempt named(const std::string& token) {
    Attempt event(core::Point::autoload, 0, {});
    event.decision.token = token;
    event.decision.reason = core::Reason::not_listed;
    return event;
}

/// Each another one, so that they are not taken for repetitions.
Attempt too_much() {
    static int number = 0;
    return named("too much " + std::to_string(++number));
}

std::vector<std::unique_ptr<Sink>> sinks(std::initializer_list<Log*> logs) {
    std::vector<std::unique_ptr<Sink>> result;
    for (Log* log : logs)
        result.push_back(std::make_unique<LogSink>(*log));
    return result;
}

/// Room for so many events whose texts are short, and so alike in size.
std::size_t room_for(std::size_t events) {
    return events * Recorder::room_for(named("0"));
}

/// A sink that stands at its gate with event "0", and an empty queue behind it, with room for `capacity`
/// events.
class BusyRecorder {
  public:
    explicit BusyRecorder(std::size_t capacity) {
        log.open = false;
        recorder.emplace(sinks({&log}), room_for(capacity));
        recorder->record(named("0"));
        log.wait_until([this] { return log.entered == 1; });
    }
    BusyRecorder(const BusyRecorder&) = delete;
    BusyRecorder& operator=(const BusyRecorder&) = delete;
    ~BusyRecorder() { log.set_open(true); }
    Log log;
    std::optional<Recorder> recorder;
};

/// The same with a queue of four that is full of "1" to "4".
class FullRecorder : public BusyRecorder {
  public:
    static constexpr std::size_t capacity = 4;
    FullRecorder() : BusyRecorder(capacity) {
        for (const char* token : {"1", "2", "3", "4"})
            recorder->record(named(token));
    }
};

TEST(Recorder, WritesToEverySinkInOrder) {
    Log one;
    Log other;
    {
        Recorder recorder(sinks({&one, &other}));
        for (const char* token : {"a", "b", "c"})
            recorder.record(named(token));
    }
    EXPECT_EQ(one.lines, (std::vector<std::string>{"a", "b", "c"}));
    EXPECT_EQ(other.lines, one.lines);
}

TEST(Recorder, SinkThatBlocksNeverBlocksRecord) {
    FullRecorder full;
    for (int i = 0; i < 10'000; ++i)
        full.recorder->record(too_much()); // would hang here, for the gate is shut
    EXPECT_EQ(full.recorder->lost(), 10'000U);
    EXPECT_TRUE(full.log.lines.empty());
}

TEST(Recorder, LossesAreReportedOnceBeforeTheNextEvent) {
    FullRecorder full;
    EXPECT_EQ(full.recorder->lost(), 0U);
    for (int i = 0; i < 3; ++i)
        full.recorder->record(too_much());
    EXPECT_EQ(full.recorder->lost(), 3U);
    full.log.set_open(true);
    full.log.wait_until([&] { return full.log.lines.size() == 6; });
    full.recorder->record(named("5"));
    full.recorder.reset();
    EXPECT_EQ(full.log.lines, (std::vector<std::string>{"0", "lost 3", "1", "2", "3", "4", "5"}));
}

TEST(Recorder, LaterLossesAreReportedByThemselves) {
    FullRecorder full;
    full.recorder->record(too_much());
    full.log.set_open(true);
    full.log.wait_until([&] { return full.log.lines.size() == 6; });
    full.log.set_open(false);
    full.recorder->record(named("5"));
    full.log.wait_until([&] { return full.log.entered == 7; });
    for (const char* token : {"6", "7", "8", "9", "too much", "even more"})
        full.recorder->record(named(token));
    EXPECT_EQ(full.recorder->lost(), 3U);
    full.log.set_open(true);
    full.recorder.reset();
    EXPECT_EQ(full.log.lines, (std::vector<std::string>{"0", "lost 1", "1", "2", "3", "4", "5", "lost 2", "6",
                                                        "7", "8", "9"}));
}

Attempt let_in(const std::string& token) {
    Attempt event = named(token);
    event.decision.judged = core::Verdict::allow;
    event.decision.reason = core::Reason::listed;
    return event;
}

Attempt loaded(const std::string& name) {
    Attempt event = named(name);
    event.call = "finit_module";
    return event;
}

Attempt powerless(const std::string& name, const std::string& container) {
    Attempt event = loaded(name);
    event.powerless = true;
    event.requester.emplace().container = container;
    return event;
}

/// Four containers that may load nothing left 182 of 432 loads of another one in the log.
TEST(Recorder, WhatAnybodyCanRepeatTakesNoRoomFromWhatWasLoaded) {
    FullRecorder full; // of requests that were refused
    for (int i = 0; i < 100; ++i)
        full.recorder->record(powerless("noise " + std::to_string(i), "a"));
    const SealRefusal seal(0, "seal", Requester{});
    for (const Event& important : {Event(loaded("module")), Event(seal), Event(let_in("let in"))})
        full.recorder->record(important);
    EXPECT_EQ(full.recorder->lost(), 100U);
    full.log.set_open(true);
    full.recorder.reset();
    EXPECT_EQ(full.log.lines,
              (std::vector<std::string>{"0", "lost 100", "1", "2", "3", "4", "module", "seal", "let in"}));
}

TEST(Recorder, OneContainersNoiseLeavesRoomForAnothers) {
    BusyRecorder busy(8);
    Log& log = busy.log;
    Recorder& recorder = *busy.recorder;
    for (int i = 0; i < 100; ++i)
        recorder.record(powerless("a" + std::to_string(i), "a"));
    for (const char* token : {"b0", "b1"})
        recorder.record(powerless(token, "b"));
    EXPECT_EQ(recorder.lost(), 98U);
    log.set_open(true);
    recorder.flush();
    EXPECT_EQ(log.lines, (std::vector<std::string>{"0", "lost 98", "a0", "a1", "b0", "b1"}));
    recorder.record(powerless("a again", "a"));
    recorder.flush();
    EXPECT_EQ(log.lines.back(), "a again");
}

TEST(Recorder, LostLinesOfModulesLogAreMarkedAndTakeNoRoomFromEvents) {
    FullRecorder full;
    for (const char* line : {"/1", "/2", "/3", "/4", "/5", "/6"})
        full.recorder->record(LogLine{line, ""});
    EXPECT_EQ(full.recorder->lost(), 0U) << "events";
    full.log.set_open(true);
    full.recorder.reset();
    EXPECT_EQ(full.log.lines,
              (std::vector<std::string>{"0", "2 lines lost", "1", "2", "3", "4", "/1", "/2", "/3", "/4"}));
}

/// modules.log lost 122 of 446 lines to another container's flood.
TEST(Recorder, OneContainersLinesLeaveRoomForAnothers) {
    BusyRecorder busy(8);
    Log& log = busy.log;
    Recorder& recorder = *busy.recorder;
    for (int i = 0; i < 100; ++i)
        recorder.record(LogLine{"/a", "a"});
    for (const char* line : {"/b1", "/b2"})
        recorder.record(LogLine{line, "b"});
    log.set_open(true);
    recorder.flush();
    EXPECT_EQ(log.lines, (std::vector<std::string>{"0", "98 lines lost", "/a", "/a", "/b1", "/b2"}));
}

TEST(Recorder, OneContainersLoadsLeaveRoomForAnothersAndTheHosts) {
    BusyRecorder busy(8);
    Log& log = busy.log;
    Recorder& recorder = *busy.recorder;
    const auto load_of = [](const std::string& name, const std::string& container) {
        Attempt event = let_in(name);
        event.call = "init_module";
        event.requester.emplace().container = container;
        return event;
    };
    for (int i = 0; i < 100; ++i)
        recorder.record(load_of("a" + std::to_string(i), "a"));
    recorder.record(load_of("b", "b"));
    for (const char* name : {"h0", "h1", "h2"})
        recorder.record(load_of(name, ""));
    log.set_open(true);
    recorder.flush();
    EXPECT_EQ(log.lines, (std::vector<std::string>{"0", "lost 98", "a0", "a1", "b", "h0", "h1", "h2"}));
}

/// 64 clients that asked without a pause lost one event in twenty.
TEST(Recorder, HasRoomForThousandsWhileALogIsBusy) {
    Log log;
    log.open = false;
    Recorder recorder(sinks({&log}));
    for (int i = 0; i < 4000; ++i)
        recorder.record(too_much());
    EXPECT_EQ(recorder.lost(), 0U);
    log.set_open(true);
    recorder.flush();
    EXPECT_EQ(log.lines.size(), 4000U);
}

TEST(Recorder, RoomIsOfMemoryAndNotOfEvents) {
    BusyRecorder busy(4);
    const std::string large(3 * Recorder::room_for(named("0")), 'x');
    for (const std::string& token : {large, "1"s, "2"s, "3"s})
        busy.recorder->record(named(token));
    EXPECT_EQ(busy.recorder->lost(), 3U) << "there is room for one large event and nothing else";
    busy.log.set_open(true);
    busy.recorder->flush();
    EXPECT_EQ(busy.log.lines, (std::vector<std::string>{"0", "lost 3", large}));
}

TEST(Recorder, EventThatIsLargerThanTheRoomWaitsAlone) {
    BusyRecorder busy(1);
    const std::string large(10 * room_for(1), 'x');
    busy.recorder->record(powerless(large, "a"));
    busy.recorder->record(powerless("b", "b"));
    EXPECT_EQ(busy.recorder->lost(), 1U);
    busy.log.set_open(true);
    busy.recorder->flush();
    busy.recorder->record(powerless("c", "a"));
    busy.recorder->flush();
    EXPECT_EQ(busy.log.lines, (std::vector<std::string>{"0", "lost 1", large, "c"}));
}

/// Tells how many events came at a time.
class CountingSink final : public Sink {
  public:
    CountingSink(Log& log, std::vector<std::size_t>& counts) : log_(log), counts_(counts) {}
    void write(Events events) override {
        counts_.push_back(events.size());
        log_.pass("");
    }

  private:
    Log& log_;
    std::vector<std::size_t>& counts_;
};

TEST(Recorder, WritesAtATimeWhatHasGatheredAndWaitsForNoMore) {
    Log log;
    log.open = false;
    std::vector<std::size_t> counts;
    std::vector<std::unique_ptr<Sink>> counting;
    counting.push_back(std::make_unique<CountingSink>(log, counts));
    {
        Recorder recorder(std::move(counting));
        recorder.record(let_in("0"));
        log.wait_until([&] { return log.entered == 1; }); // the one, though others may follow
        for (int i = 0; i < 5; ++i)
            recorder.record(let_in("x"));
        log.set_open(true);
    }
    EXPECT_EQ(counts, (std::vector<std::size_t>{1, 5}));
}

/// What a crash would lose of what is out of the queue and in no log yet.
TEST(Recorder, TakesLittleAtATime) {
    Log log;
    log.open = false;
    std::vector<std::size_t> counts;
    std::vector<std::unique_ptr<Sink>> counting;
    counting.push_back(std::make_unique<CountingSink>(log, counts));
    {
        Recorder recorder(std::move(counting));
        recorder.record(let_in("0"));
        log.wait_until([&] { return log.entered == 1; });
        for (int i = 0; i < 1000; ++i)
            recorder.record(let_in("x"));
        log.set_open(true);
    }
    EXPECT_EQ(std::accumulate(counts.begin(), counts.end(), std::size_t{0}), 1001U);
    EXPECT_LT(std::ranges::max(counts), 200U);
    EXPECT_GT(std::ranges::max(counts), 20U);
}

TEST(Recorder, WritesWhatItIsNotWokenForWithTheNextOrWhenItIs) {
    using enum Recorder::Wake;
    Log log;
    {
        Recorder recorder(sinks({&log}));
        recorder.record(let_in("1"), later);
        recorder.wake();
        log.wait_until([&] { return log.lines.size() == 1; });
        recorder.record(let_in("2"), later);
        recorder.record(let_in("3"), now);
        log.wait_until([&] { return log.lines.size() == 3; });
        recorder.record(let_in("4"), later);
        recorder.flush();
        EXPECT_EQ(log.lines.size(), 4U);
        recorder.record(let_in("5"), later);
    }
    EXPECT_EQ(log.lines, (std::vector<std::string>{"1", "2", "3", "4", "5"}));
}

TEST(Recorder, WhatWasLostBeforeItCameIsSaidThoughNothingFollows) {
    Log log;
    Recorder recorder(sinks({&log}));
    recorder.record_loss(7);
    log.wait_until([&] { return !log.lines.empty(); });
    EXPECT_EQ(log.lines, (std::vector<std::string>{"lost 7"}));
    EXPECT_EQ(recorder.lost(), 0U) << "not here";
}

TEST(Recorder, TellsWhatItCountedWhenFlushedOrAtItsEnd) {
    Log log;
    {
        Recorder recorder(sinks({&log}));
        for (int i = 0; i < 4; ++i)
            recorder.record(named("x"));
        recorder.flush();
        EXPECT_EQ(log.lines, (std::vector<std::string>{"x", "x + 2"}));
        for (int i = 0; i < 2; ++i)
            recorder.record(named("y"));
    }
    EXPECT_EQ(log.lines, (std::vector<std::string>{"x", "x + 2", "y", "y"}));
}

/// Returns when the thread `id` of this process waits for something.
void wait_until_asleep(pid_t id) {
    std::string state;
    while (state != "S") {
        std::this_thread::yield();
        std::ifstream stat("/proc/self/task/" + std::to_string(id) + "/stat");
        std::string number;
        std::string name;
        stat >> number >> name >> state;
    }
}

/// The end that came while a sink wrote lost what was counted: 2,440 refusals of 5,000, once.
TEST(Recorder, TellsWhatItCountedWhenItsEndComesWhileASinkWrites) {
    BusyRecorder busy(8);
    for (int i = 0; i < 3; ++i)
        busy.recorder->record(named("0"));
    std::atomic<bool> is_ending = false;
    std::thread opener([&, ending = ::gettid()] {
        while (!is_ending)
            std::this_thread::yield();
        wait_until_asleep(ending);
        busy.log.set_open(true);
    });
    is_ending = true;
    busy.recorder.reset();
    opener.join();
    EXPECT_EQ(busy.log.lines, (std::vector<std::string>{"0", "0 + 2"}));
}

TEST(Recorder, TellsWhatItCountedInTimeThoughNothingFollows) {
    Log log;
    Recorder recorder(sinks({&log}));
    for (int i = 0; i < 3; ++i)
        recorder.record(named("x"));
    log.wait_until([&] { return log.lines.size() == 2; });
    EXPECT_EQ(log.lines, (std::vector<std::string>{"x", "x + 1"}));
}

TEST(Recorder, WhatIsLostCountsWithAllThatItWouldHaveTold) {
    FullRecorder full;
    Attempt event = named("counted elsewhere");
    event.repeated = 9;
    full.recorder->record(event);
    EXPECT_EQ(full.recorder->lost(), 10U);
}

TEST(Recorder, DestructorWritesWhatIsQueued) {
    FullRecorder full;
    auto ended = std::async(std::launch::async, [&full] { full.recorder.reset(); });
    full.log.set_open(true);
    ended.get();
    EXPECT_EQ(full.log.lines, (std::vector<std::string>{"0", "1", "2", "3", "4"}));
}

TEST(Recorder, WithoutEventsEndsAtOnce) {
    Log log;
    {
        const Recorder recorder(sinks({&log}));
    }
    EXPECT_TRUE(log.lines.empty());
}

TEST(Recorder, NothingIsLostOrDoubledUnderManyRecordingThreads) {
    constexpr std::size_t threads = 4;
    constexpr std::size_t each = 2000;
    Log log;
    std::size_t lost = 0;
    {
        Recorder recorder(sinks({&log}), room_for(64));
        std::vector<std::jthread> recording;
        for (std::size_t i = 0; i < threads; ++i)
            recording.emplace_back([&recorder] {
                for (std::size_t j = 0; j < each; ++j)
                    recorder.record(let_in("x"));
            });
        recording.clear(); // joins
        lost = recorder.lost();
    }
    std::size_t written = 0;
    std::size_t reported = 0;
    for (const std::string& line : log.lines)
        line == "x" ? ++written : reported += std::stoul(line.substr(5));
    EXPECT_EQ(written + lost, threads * each);
    EXPECT_EQ(reported, lost);
}

} // namespace
} // namespace kmodguard::events
