// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows that records which wait are all made, in order, and with the hash of the very bytes, however little
// room there is for them.
#include "enforce/process/deferred.hpp"
#include "modules/hash.hpp"
#include "process/supervised.hpp"

#include <gtest/gtest.h>

#include <algorithm>

namespace kmodguard::process {
namespace {

using test::Bytes;

struct DeferredTest : ::testing::Test {
    /// A record like that of one call. Each is another to the recorder, which would count them else.
    DeferredRecord record(int number, const Bytes& image) {
        events::Attempt event(core::Point::process, 1, core::Decision(), "finit_module");
        event.file = "/" + std::to_string(number);
        modules::Buffer bytes(image.size());
        std::ranges::copy(image, bytes.data());
        return {.event = std::move(event),
                .image = std::make_shared<SeenImage>(std::move(bytes), core::ImageFacts()),
                .line =
                    DeferredRecord::Line{.place = LogOrder::Line(*order), .text = std::to_string(number)}};
    }
    void run(const DeferredLimits& limits, int count) {
        std::vector<std::unique_ptr<events::Sink>> sinks;
        sinks.push_back(std::make_unique<test::Log>(log));
        events::Recorder recorder(std::move(sinks), std::size_t{1} << 30U);
        order.emplace(recorder, "");
        Deferred deferred(recorder, limits);
        for (int i = 0; i < count; ++i)
            deferred.add(record(i, test::image_of("module_" + std::to_string(i))));
    }
    void expect_all(int count) const {
        ASSERT_EQ(log.events.size(), static_cast<std::size_t>(count));
        ASSERT_EQ(log.attempts.size(), static_cast<std::size_t>(count));
        for (int i = 0; i < count; ++i) {
            const auto at = static_cast<std::size_t>(i);
            EXPECT_EQ(log.events[at].file, "/" + std::to_string(i));
            EXPECT_EQ(log.attempts[at], std::to_string(i));
            const auto hash = modules::sha256(test::image_of("module_" + std::to_string(i)));
            EXPECT_EQ(log.events[at].sha256, *hash);
        }
    }

    test::Log::Kept log;
    std::optional<LogOrder> order;
};

TEST_F(DeferredTest, AllAreMadeInOrder) {
    run({}, 500);
    expect_all(500);
}

TEST_F(DeferredTest, WhereThereIsNoRoomWhoBringsOneMakesTheOldest) {
    run({.records = 3}, 200);
    expect_all(200);
}

TEST_F(DeferredTest, WhereImagesTakeTooMuchMemoryToo) {
    run({.bytes = 1}, 200);
    expect_all(200);
}

TEST_F(DeferredTest, WhatIsFinishedIsRecorded) {
    std::vector<std::unique_ptr<events::Sink>> sinks;
    sinks.push_back(std::make_unique<test::Log>(log));
    events::Recorder recorder(std::move(sinks), std::size_t{1} << 30U);
    order.emplace(recorder, "");
    Deferred deferred(recorder);
    for (int i = 0; i < 100; ++i)
        deferred.add(record(i, test::image_of("module_" + std::to_string(i))));
    deferred.finish();
    recorder.flush();
    expect_all(100);
}

TEST(SeenImageTest, IsTheSameByteForByte) {
    const Bytes image = test::image_of("good");
    modules::Buffer bytes(image.size());
    std::ranges::copy(image, bytes.data());
    SeenImage seen(std::move(bytes), core::ImageFacts());
    EXPECT_TRUE(seen.is(image));
    for (std::size_t i = 0; i < image.size(); i += 97) {
        Bytes other = image;
        other[i] ^= std::byte{1};
        EXPECT_FALSE(seen.is(other)) << i;
    }
    EXPECT_FALSE(seen.is(std::span(image).first(image.size() - 1)));
    EXPECT_EQ(seen.sha256(), *modules::sha256(image));
    EXPECT_EQ(seen.sha256(), *modules::sha256(image));
}

} // namespace
} // namespace kmodguard::process
