// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows that a remembered decision is the one made last for that token, that it is gone when told so, and
// that no stream of invented tokens makes the memory grow or drives out what is asked for all the time.
#include "core/decision_cache.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <string>

namespace kmodguard::core {
namespace {

Decision decision_on(const std::string& token, Reason reason = Reason::not_listed) {
    Decision decision;
    decision.token = token;
    decision.reason = reason;
    return decision;
}

TEST(DecisionCacheTest, KnowsNothingAtFirst) {
    DecisionCache cache;
    EXPECT_EQ(cache.find("loop"), nullptr);
    EXPECT_EQ(cache.size(), 0U);
}

TEST(DecisionCacheTest, GivesBackWhatWasDecided) {
    DecisionCache cache;
    EXPECT_EQ(cache.insert("loop", decision_on("loop")), decision_on("loop"));
    ASSERT_NE(cache.find("loop"), nullptr);
    EXPECT_EQ(*cache.find("loop"), decision_on("loop"));
    EXPECT_EQ(cache.find("loo"), nullptr);
    EXPECT_EQ(cache.find(""), nullptr);
}

TEST(DecisionCacheTest, GivesTheDecisionMadeLastWhereverTheFirstHasGone) {
    for (int between = 0; between < 12; ++between) {
        DecisionCache cache(8);
        cache.insert("loop", decision_on("loop", Reason::listed));
        for (int i = 0; i < between; ++i)
            cache.insert("x" + std::to_string(i), decision_on("x"));
        cache.insert("loop", decision_on("loop", Reason::denied_module));
        ASSERT_NE(cache.find("loop"), nullptr) << between;
        EXPECT_EQ(cache.find("loop")->reason, Reason::denied_module) << between;
    }
}

TEST(DecisionCacheTest, ForgetsWhatItIsToldToWhereverThatHasGone) {
    for (int between = 0; between < 12; ++between) {
        DecisionCache cache(8);
        cache.insert("loop", decision_on("loop", Reason::listed));
        for (int i = 0; i < between; ++i)
            cache.insert("x" + std::to_string(i), decision_on("x"));
        cache.insert("loop", decision_on("loop"));
        cache.erase("loop");
        EXPECT_EQ(cache.find("loop"), nullptr) << between;
        cache.clear();
        EXPECT_EQ(cache.size(), 0U);
        EXPECT_EQ(cache.find("x0"), nullptr);
    }
}

TEST(DecisionCacheTest, StaysWithinItsCapacity) {
    DecisionCache cache(64);
    for (int i = 0; i < 10000; ++i) {
        cache.insert(std::to_string(i), decision_on("x"));
        ASSERT_LE(cache.size(), 64U);
    }
    EXPECT_NE(cache.find("9999"), nullptr);
    EXPECT_EQ(cache.find("0"), nullptr);
}

TEST(DecisionCacheTest, KeepsWhatIsAskedForAllTheTime) {
    DecisionCache cache(64);
    cache.insert("loop", decision_on("loop"));
    for (int i = 0; i < 10000; ++i) {
        cache.insert(std::to_string(i), decision_on("x"));
        ASSERT_NE(cache.find("loop"), nullptr) << i;
        ASSERT_EQ(cache.find("loop")->token, "loop");
        ASSERT_LE(cache.size(), 64U);
    }
}

TEST(DecisionCacheTest, WorksHoweverSmall) {
    for (const std::size_t capacity : {0U, 1U, 2U, 3U}) {
        DecisionCache cache(capacity);
        cache.insert("a", decision_on("a"));
        cache.insert("b", decision_on("b"));
        ASSERT_NE(cache.find("b"), nullptr) << capacity;
        EXPECT_EQ(cache.find("b")->token, "b");
        EXPECT_LE(cache.size(), 2U);
    }
}

} // namespace
} // namespace kmodguard::core
