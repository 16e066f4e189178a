// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows what is concluded from an attempt: that it failed is no proof, only that it was counted is.
#include "ctl/trials.hpp"

#include <gtest/gtest.h>

#include <cerrno>

namespace kmodguard::ctl {
namespace {

using kernel::Counters;

LoadTrial trial(int error, const Counters& grown) {
    return {.error = error,
            .before = {.allowed = 5, .refused = 5, .audited = 5, .skipped = 5},
            .after = {.allowed = 5 + grown.allowed,
                      .refused = 5 + grown.refused,
                      .audited = 5 + grown.audited,
                      .skipped = 5 + grown.skipped}};
}

TEST(LoadTrials, RefusedAndCountedIsGuarded) {
    const Finding finding = finding_of("init_module", trial(EPERM, {.refused = 1}));
    EXPECT_EQ(finding.level, Level::ok);
    EXPECT_EQ(finding.check, "init_module");
    EXPECT_EQ(finding.text, "refused by the kernel point (EPERM)");
    EXPECT_EQ(finding.remedy, "");
}

TEST(LoadTrials, WhatTheKernelItselfRefusedIsNotGuarded) {
    for (const int error : {ENOEXEC, EINVAL, EKEYREJECTED, ENOSYS, 0}) {
        const Finding finding = finding_of("init_module", trial(error, {}));
        EXPECT_EQ(finding.level, Level::bad) << error;
        EXPECT_TRUE(finding.text.starts_with("NOT guarded")) << finding.text;
        EXPECT_NE(finding.remedy, "") << error;
    }
}

/// Lockdown, for one, answers EPERM to an image that nobody has signed.
TEST(LoadTrials, RefusedBySomebodyElseIsNoProof) {
    const Finding finding = finding_of("init_module", trial(EPERM, {}));
    EXPECT_EQ(finding.level, Level::bad);
    EXPECT_NE(finding.text.find("not by the kernel point"), std::string::npos) << finding.text;
}

TEST(LoadTrials, CountedAndNotRefusedIsNotGuarded) {
    EXPECT_EQ(finding_of("init_module", trial(ENOEXEC, {.refused = 1})).level, Level::bad);
}

TEST(LoadTrials, CompressedOnesMayBeAnsweredWithENOSYS) {
    LoadTrial compressed = trial(ENOSYS, {.refused = 1});
    EXPECT_EQ(finding_of("finit_module", compressed).level, Level::bad);
    compressed.compressed = true;
    EXPECT_EQ(finding_of("finit_module", compressed).level, Level::ok);
}

TEST(LoadTrials, AuditModeLetsItPassAndCountsIt) {
    LoadTrial audited = trial(ENOEXEC, {.audited = 1});
    EXPECT_EQ(finding_of("init_module", audited).level, Level::bad); // in enforce mode nothing is audited
    audited.audit = true;
    EXPECT_EQ(finding_of("init_module", audited).level, Level::ok);
    EXPECT_EQ(finding_of("init_module", {.error = ENOEXEC, .audit = true}).level, Level::bad);
}

TEST(LoadTrials, SaysWhyWhereItCanTell) {
    EXPECT_NE(finding_of("x", trial(ENOEXEC, {.skipped = 1})).text.find("left out"), std::string::npos);
    const Finding allowed = finding_of("x", trial(ENOEXEC, {.allowed = 1}));
    EXPECT_EQ(allowed.level, Level::note);
    EXPECT_EQ(allowed.remedy, "kmodctl remove kmodguard_canary");
}

TEST(RequestTrials, AreTakenForWhatWasCounted) {
    EXPECT_EQ(outcome_of({.token = "t"}), RequestOutcome::not_seen);
    EXPECT_EQ(outcome_of({.token = "t", .after = {.refused_requests = 1}}),
              RequestOutcome::refused_by_daemon);
    EXPECT_EQ(outcome_of({.token = "t", .after = {.refused_requests = 1, .kernel = {.requests = 1}}}),
              RequestOutcome::refused_by_daemon);
    EXPECT_EQ(outcome_of({.token = "t", .after = {.kernel = {.remembered = 1}}}),
              RequestOutcome::refused_in_kernel);
    EXPECT_EQ(outcome_of({.token = "t", .after = {.kernel = {.requests = 1}}}), RequestOutcome::passed_by);
    const Counts old{.refused_requests = 7, .kernel = {.requests = 7, .remembered = 7}};
    EXPECT_EQ(outcome_of({.token = "t", .before = old, .after = old}), RequestOutcome::not_seen);
}

} // namespace
} // namespace kmodguard::ctl
