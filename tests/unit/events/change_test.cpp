// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows how a change of the guard reads, for people and for programs, and that no name can break the line.
#include "events/event.hpp"
#include "events/event_lines.hpp"

#include <gtest/gtest.h>

namespace kmodguard::events {
namespace {

Change mode_change() {
    Change change(Action::mode, 3);
    change.time = {};
    change.argument = "audit 1800";
    change.by = sys::ProcessIdentity{.pid = 812, .uid = 0, .command = "kmodctl", .login_uid = 1000};
    return change;
}

TEST(Change, SaysWhoDidWhat) {
    EXPECT_EQ(summary(mode_change()), "mode audit 1800: done (by kmodctl[812], uid 0, login uid 1000)");
    EXPECT_FALSE(is_notable(mode_change()));
}

TEST(Change, SaysWhyItWasNotDone) {
    Change change = mode_change();
    change.error = "the machine is sealed";
    change.by.reset();
    EXPECT_EQ(summary(change), "mode audit 1800: failed: the machine is sealed");
    EXPECT_TRUE(is_notable(change));
}

TEST(Change, NothingInItBreaksTheLine) {
    Change change = mode_change();
    change.argument = "a\nb";
    change.error = "c\nd";
    change.by->command = "e\nf";
    EXPECT_EQ(summary(change).find('\n'), std::string::npos) << summary(change);
}

TEST(Change, InJson) {
    Change change = mode_change();
    change.by->login_uid.reset();
    EXPECT_EQ(
        line_of(change),
        R"({"time":"1970-01-01T00:00:00.000000Z","change":"mode","argument":"audit 1800",)"
        R"("result":"done","generation":3,"by":{"pid":812,"uid":0,"comm":"kmodctl","login_uid":null}})");
    change.error = "no";
    change.repeated = 2;
    change.by.reset();
    EXPECT_EQ(line_of(change),
              R"({"time":"1970-01-01T00:00:00.000000Z","change":"mode","argument":"audit 1800",)"
              R"("result":"failed","error":"no","generation":3,"repeated":2})");
}

TEST(Change, WordsOfActionsSurviveARoundTrip) {
    for (int i = 0; i <= static_cast<int>(Action::publish); ++i) {
        const auto action = static_cast<Action>(i);
        EXPECT_EQ(action_from(to_string(action)), action);
    }
    EXPECT_EQ(action_from(""), std::nullopt);
}

} // namespace
} // namespace kmodguard::events
