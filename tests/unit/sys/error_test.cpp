// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows that an error says what was tried, on which object and why it failed, and that its kind is what a
// program needs to choose its exit code.
#include "sys/result.hpp"

#include <gtest/gtest.h>

#include <cerrno>
#include <memory>
#include <string>

namespace kmodguard::sys {
namespace {

TEST(SystemError, SaysWhatOnWhichObjectAndWhy) {
    EXPECT_EQ(system_error("cannot open", "/etc/kmodguard/policy.toml", EACCES).what,
              "cannot open /etc/kmodguard/policy.toml: Permission denied");
    EXPECT_EQ(system_error("cannot read", "x", EIO).what, "cannot read x: Input/output error");
}

TEST(SystemError, TellsKindsApart) {
    EXPECT_EQ(system_error("a", "b", ENOENT).kind, ErrorKind::not_found);
    EXPECT_EQ(system_error("a", "b", EACCES).kind, ErrorKind::denied);
    EXPECT_EQ(system_error("a", "b", EPERM).kind, ErrorKind::denied);
    EXPECT_EQ(system_error("a", "b", ECONNREFUSED).kind, ErrorKind::unreachable);
    EXPECT_EQ(system_error("a", "b", EIO).kind, ErrorKind::failed);
    EXPECT_EQ(system_error("a", "b", ENOTDIR).kind, ErrorKind::failed);
}

TEST(SystemError, HintsAtRootOnlyWhereRootHelps) {
    EXPECT_FALSE(system_error("a", "b", EACCES).hint.empty());
    EXPECT_FALSE(system_error("a", "b", EPERM).hint.empty());
    EXPECT_EQ(system_error("a", "b", ENOENT).hint, "");
    EXPECT_EQ(system_error("a", "b", EIO).hint, "");
}

TEST(SystemError, TakesErrnoUnlessGivenACode) {
    errno = ENOSPC;
    EXPECT_EQ(system_error("cannot write", "x").what, "cannot write x: No space left on device");
}

TEST(SystemError, HasAReasonForCodesThatTheLibraryDoesNotKnow) {
    for (const int code : {0, -1, 4095, 99999}) {
        std::string text;
        ASSERT_NO_THROW(text = system_error("cannot open", "x", code).what) << code;
        EXPECT_TRUE(text.starts_with("cannot open x: "));
        EXPECT_GT(text.size(), std::string("cannot open x: ").size());
    }
}

TEST(Failure, CarriesItsTextsUnchanged) {
    const Result<int> result = failure(ErrorKind::bad_policy, "line 3: unknown key", "did you mean allow?");
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().kind, ErrorKind::bad_policy);
    EXPECT_EQ(result.error().what, "line 3: unknown key");
    EXPECT_EQ(result.error().hint, "did you mean allow?");
}

TEST(SystemFailure, IsASystemError) {
    const Result<void> result = system_failure("cannot open", "y", ENOENT);
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().kind, ErrorKind::not_found);
    EXPECT_EQ(result.error().what, "cannot open y: No such file or directory");
}

Result<std::unique_ptr<int>> number(bool works) {
    if (!works) return failure(ErrorKind::invalid, "no number", "count again");
    return std::make_unique<int>(3);
}

Result<void> step(bool works) {
    if (!works) return failure(ErrorKind::denied, "no step");
    return {};
}

Result<int> after_both(bool first, bool second) {
    const auto value = TRY(number(first));
    TRY(step(second));
    return *value;
}

TEST(Try, GivesTheValueOrEndsTheFunctionWithTheError) {
    EXPECT_EQ(after_both(true, true), 3);
    const auto first = after_both(false, false);
    ASSERT_FALSE(first);
    EXPECT_EQ(first.error().kind, ErrorKind::invalid);
    EXPECT_EQ(first.error().what, "no number");
    EXPECT_EQ(first.error().hint, "count again");
    EXPECT_EQ(after_both(true, false).error().what, "no step");
}

} // namespace
} // namespace kmodguard::sys
