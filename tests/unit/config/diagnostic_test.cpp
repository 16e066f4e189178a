// SPDX-License-Identifier: AGPL-3.0-only
#include "config/diagnostic.hpp"

#include <gtest/gtest.h>

namespace kmodguard::config {
namespace {

const Diagnostic misspelt{Severity::error,       "/etc/p.toml",           3, 7,
                          "unknown key \"mod\"", "did you mean \"mode\"?"};
const Diagnostic said_twice{Severity::warning, "/etc/p.toml", 9, 0, "listed twice", ""};

TEST(Diagnostic, ReadsLikeACompilersMessageWithAHintBelow) {
    EXPECT_EQ(render(misspelt),
              "/etc/p.toml:3:7: error: unknown key \"mod\"\n  hint: did you mean \"mode\"?");
}

TEST(Diagnostic, LeavesOutWhatIsNotKnown) {
    EXPECT_EQ(render(said_twice), "/etc/p.toml:9: warning: listed twice");
    EXPECT_EQ(render(Diagnostic{Severity::error, "p", 0, 0, "gone", ""}), "p: error: gone");
    EXPECT_EQ(render(Diagnostic{Severity::error, "", 0, 0, "gone", ""}), "error: gone");
}

TEST(Diagnostic, LetsNoControlCharacterThrough) {
    EXPECT_EQ(render(Diagnostic{Severity::error, "a\x1b[2J", 1, 1, "x\x1b", "y\r"}),
              "a\\x1b[2J:1:1: error: x\\x1b\n  hint: y\\x0d");
}

TEST(Diagnostic, RendersSeveralOneAfterTheOther) {
    EXPECT_EQ(render(Diagnostics{said_twice, said_twice}),
              "/etc/p.toml:9: warning: listed twice\n/etc/p.toml:9: warning: listed twice\n");
}

TEST(Diagnostic, KnowsWhetherThereAreErrors) {
    EXPECT_FALSE(has_errors({}));
    EXPECT_FALSE(has_errors({said_twice}));
    EXPECT_TRUE(has_errors({said_twice, misspelt}));
}

TEST(Diagnostic, MergingSaysNothingTwice) {
    Diagnostics all{said_twice};
    merge(all, {misspelt, said_twice});
    EXPECT_EQ(all, (Diagnostics{said_twice, misspelt}));
}

TEST(Diagnostic, BecomesOneErrorThatCountsTheRest) {
    const sys::Error error = to_error({said_twice, misspelt, misspelt});
    EXPECT_EQ(error.kind, sys::ErrorKind::bad_policy);
    EXPECT_EQ(error.what, "/etc/p.toml:3:7: unknown key \"mod\" (and 1 more)");
    EXPECT_EQ(error.hint, "did you mean \"mode\"?");
    EXPECT_EQ(to_error({misspelt}).what, "/etc/p.toml:3:7: unknown key \"mod\"");
    EXPECT_EQ(to_error({}).what, "the policy cannot be used");
}

} // namespace
} // namespace kmodguard::config
