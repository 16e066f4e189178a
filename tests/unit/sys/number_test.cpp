// SPDX-License-Identifier: AGPL-3.0-only
#include "sys/number.hpp"

#include <gtest/gtest.h>

#include <cstdint>

namespace kmodguard::sys {
namespace {

TEST(Number, IsAllOfTheText) {
    EXPECT_EQ(number_in<int>("42"), 42);
    EXPECT_EQ(number_in<int>("-1"), -1);
    EXPECT_EQ(number_in<std::uint64_t>("ffffffffffffffff", 16), UINT64_MAX);
    for (const char* text : {"", " 42", "42 ", "42x", "+42", "0x2a", "x"})
        EXPECT_EQ(number_in<int>(text), std::nullopt) << text;
}

TEST(Number, FitsItsType) {
    EXPECT_EQ(number_in<std::uint8_t>("255"), 255);
    EXPECT_EQ(number_in<std::uint8_t>("256"), std::nullopt);
    EXPECT_EQ(number_in<unsigned>("-1"), std::nullopt);
    EXPECT_EQ(number_in<std::uint64_t>("10000000000000000", 16), std::nullopt);
}

} // namespace
} // namespace kmodguard::sys
