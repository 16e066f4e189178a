// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows that a descriptor is closed exactly once, whoever held it last.
#include "sys/unique_fd.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <type_traits>
#include <utility>

namespace kmodguard::sys {
namespace {

static_assert(!std::is_copy_constructible_v<UniqueFd> && !std::is_copy_assignable_v<UniqueFd>);
static_assert(std::is_nothrow_move_constructible_v<UniqueFd> && std::is_nothrow_move_assignable_v<UniqueFd>);

int open_null() {
    return ::open("/dev/null", O_RDONLY | O_CLOEXEC);
}
bool is_open(int fd) {
    return ::fcntl(fd, F_GETFD) >= 0;
}

TEST(UniqueFd, HoldsNothingAtFirst) {
    const UniqueFd fd;
    EXPECT_FALSE(fd);
    EXPECT_EQ(fd.get(), -1);
}

TEST(UniqueFd, ClosesWhenItGoes) {
    const int number = open_null();
    {
        const UniqueFd fd(number);
        EXPECT_TRUE(fd);
        EXPECT_EQ(fd.get(), number);
        EXPECT_TRUE(is_open(number));
    }
    EXPECT_FALSE(is_open(number));
}

TEST(UniqueFd, TakesDescriptorZeroForOpen) {
    UniqueFd fd(0);
    EXPECT_TRUE(fd);
    EXPECT_EQ(fd.release(), 0);
}

TEST(UniqueFd, MovedIsHeldByTheNewOwnerOnly) {
    const int number = open_null();
    UniqueFd first(number);
    {
        const UniqueFd second(std::move(first));
        EXPECT_FALSE(first); // NOLINT(bugprone-use-after-move): what is left is part of the promise
        EXPECT_EQ(second.get(), number);
        EXPECT_TRUE(is_open(number));
    }
    EXPECT_FALSE(is_open(number));
}

TEST(UniqueFd, AssignedClosesWhatItHeldBefore) {
    UniqueFd first(open_null());
    UniqueFd second(open_null());
    const int closed = first.get();
    const int kept = second.get();
    first = std::move(second);
    EXPECT_FALSE(is_open(closed));
    EXPECT_TRUE(is_open(kept));
    EXPECT_EQ(first.get(), kept);
    EXPECT_FALSE(second); // NOLINT(bugprone-use-after-move)
}

TEST(UniqueFd, AssignedToItselfStaysOpen) {
    UniqueFd fd(open_null());
    UniqueFd& same = fd;
    fd = std::move(same);
    EXPECT_TRUE(fd);
    EXPECT_TRUE(is_open(fd.get()));
}

TEST(UniqueFd, ReleasedStaysOpen) {
    int number = -1;
    {
        UniqueFd fd(open_null());
        number = fd.release();
        EXPECT_FALSE(fd);
    }
    EXPECT_TRUE(is_open(number));
    ::close(number);
}

TEST(UniqueFd, ResetClosesAndMayTakeAnother) {
    UniqueFd fd(open_null());
    const int first = fd.get();
    const int second = open_null();
    fd.reset(second);
    EXPECT_FALSE(is_open(first));
    EXPECT_EQ(fd.get(), second);
    fd.reset();
    EXPECT_FALSE(is_open(second));
    EXPECT_FALSE(fd);
}

} // namespace
} // namespace kmodguard::sys
