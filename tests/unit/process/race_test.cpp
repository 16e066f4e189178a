// SPDX-License-Identifier: AGPL-3.0-only
//
// Row 13 of docs/bypasses.md: a caller whose other threads change what its call points at, while the
// supervisor looks. Whatever the supervisor saw, what it loads is what it judged.
#include "process/supervised.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <thread>

namespace kmodguard::process {
namespace {

using test::Bytes;
using test::image_of;
using test::PolicyBuilder;

constexpr int rounds = 5000; // of each kind

class RaceTest : public ::testing::Test {
  protected:
    /// That `caller` is answered now so and now otherwise shows that there was a race.
    void expect_only_the_judged(const std::function<int()>& caller) {
        supervised.answer = core::CallerAnswer::refuse;
        ASSERT_EQ(supervised.run(PolicyBuilder().allow("good").build(), caller), 0);
        EXPECT_EQ(supervised.kernel.loaded.count("evil"), 0U);
        EXPECT_EQ(supervised.log.told(), static_cast<std::size_t>(rounds));
        int refused = 0;
        for (const events::Attempt& event : supervised.log.events) {
            const bool allowed = event.decision.effective() == core::Verdict::allow;
            EXPECT_TRUE(!allowed || event.decision.modules.at(0).module == "good");
            refused += allowed ? 0 : 1;
        }
        EXPECT_GT(refused, 0) << "nothing was changed while it was looked at";
        EXPECT_LT(refused, rounds) << "nothing was ever as it should be";
    }

    test::Supervised supervised;
    Bytes good = image_of("good");
    Bytes evil = image_of("evil");
};

/// Calls `change` over and over in a thread beside `call`, which is made `rounds` times.
template <typename Change, typename Call>
int race(Change change, Call call) {
    std::atomic<bool> done = false;
    std::thread other([&] {
        while (!done)
            change();
    });
    for (int i = 0; i < rounds; ++i)
        call();
    done = true;
    other.join();
    return 0;
}

TEST_F(RaceTest, Row13RewritingTheBuffer) {
    expect_only_the_judged([this] {
        Bytes buffer = good;
        return race(
            [&] {
                std::ranges::copy(evil, buffer.begin());
                std::ranges::copy(good, buffer.begin());
            },
            [&] { test::init_module(buffer); });
    });
}

TEST_F(RaceTest, Row13SwappingTheDescriptor) {
    expect_only_the_judged([this] {
        const int good_file = test::file_with(good);
        const int evil_file = test::file_with(evil);
        const int file = ::dup(good_file);
        return race(
            [&] {
                ::dup2(evil_file, file);
                ::dup2(good_file, file);
            },
            [&] { test::finit_module(file); });
    });
}

TEST_F(RaceTest, Row13RewritingTheFile) {
    expect_only_the_judged([this] {
        const int file = test::file_with(good);
        return race(
            [&] {
                [[maybe_unused]] ssize_t written = ::pwrite(file, evil.data(), evil.size(), 0);
                written = ::pwrite(file, good.data(), good.size(), 0);
            },
            [&] { test::finit_module(file); });
    });
}

} // namespace
} // namespace kmodguard::process
