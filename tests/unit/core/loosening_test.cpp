// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows which changes of a policy may be made without anybody asking again: those by which nothing more can
// load.
#include "core/policy.hpp"
#include "policy_builder.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <functional>

namespace kmodguard::core {
namespace {

using test::PolicyBuilder;

constexpr Sha256 content_of(std::uint8_t byte) {
    Sha256 hash{};
    hash.fill(byte);
    return hash;
}

PolicyBuilder usual_rules() {
    return PolicyBuilder()
        .allow("af_key", "loop")
        .allow_alias("net-pf-*")
        .deny("sctp")
        .deny_alias("fs-*")
        .pin("loop", content_of(1))
        .pin("loop", content_of(2));
}

using Change = std::function<void(PolicySource&)>;

/// Each change loosens, and taking it back does not.
TEST(Loosening, EachWayToLetMorePass) {
    const std::pair<const char*, Change> changes[] = {
        {"audit mode", [](PolicySource& source) { source.mode = Mode::audit; }},
        {"a module", [](PolicySource& source) { source.allow_modules.push_back({"dccp", {}}); }},
        {"an alias", [](PolicySource& source) { source.allow_aliases.push_back({"fs-*", {}}); }},
        {"a denial less", [](PolicySource& source) { source.deny_modules.clear(); }},
        {"a denied alias less", [](PolicySource& source) { source.deny_aliases.clear(); }},
        {"one more content",
         [](PolicySource& source) { source.pins.push_back({"loop", content_of(3), {}}); }},
        {"any content", [](PolicySource& source) { source.pins.clear(); }},
        {"a point less", [](PolicySource& source) { source.points = {Point::autoload}; }},
    };
    for (const auto& [name, change] : changes) {
        PolicySource looser = usual_rules().source();
        change(looser);
        EXPECT_TRUE(loosens(usual_rules().source(), looser)) << name;
        EXPECT_FALSE(loosens(looser, usual_rules().source())) << name << " taken back";
    }
}

TEST(Loosening, AuditModeThatEndsLater) {
    using std::chrono::seconds;
    PolicySource sooner;
    sooner.mode = Mode::audit;
    sooner.audit_ends = seconds(10);
    PolicySource later = sooner;
    later.audit_ends = seconds(11);
    PolicySource never = sooner;
    never.audit_ends.reset();
    EXPECT_TRUE(loosens(sooner, later));
    EXPECT_TRUE(loosens(later, never));
    EXPECT_FALSE(loosens(later, sooner));
    EXPECT_FALSE(loosens(never, later));
    EXPECT_FALSE(loosens(sooner, sooner));
}

TEST(Loosening, Settings) {
    PolicySource loose;
    PolicySource strict;
    strict.dependencies = false;
    EXPECT_TRUE(loosens(strict, loose));
    EXPECT_FALSE(loosens(loose, strict));
    strict = {};
    strict.unload_denied = true;
    EXPECT_TRUE(loosens(strict, loose));
    EXPECT_FALSE(loosens(loose, strict));
    strict = {};
    loose.user_namespaces = true;
    EXPECT_TRUE(loosens(strict, loose));
    EXPECT_FALSE(loosens(loose, strict));
}

TEST(Loosening, TheSameInAnotherOrderIsTheSame) {
    const PolicyBuilder one = PolicyBuilder().allow("a", "b").deny("c", "d");
    const PolicyBuilder other = PolicyBuilder().deny("d", "c").allow("b", "a", "a");
    EXPECT_FALSE(loosens(PolicyBuilder(one).source(), PolicyBuilder(other).source()));
    EXPECT_FALSE(loosens(PolicyBuilder(other).source(), PolicyBuilder(one).source()));
}

TEST(Loosening, AStricterHalfDoesNotMakeUpForALooserOne) {
    PolicySource mixed = usual_rules().deny("af_key").source();
    mixed.allow_modules.push_back({"dccp", {}});
    EXPECT_TRUE(loosens(usual_rules().source(), mixed));
}

TEST(Loosening, PinningWhatWasNotIsStricter) {
    EXPECT_FALSE(loosens(usual_rules().source(), usual_rules().pin("af_key", content_of(9)).source()));
}

TEST(Loosening, NoPointsMeansEachOfThem) {
    PolicySource source;
    EXPECT_TRUE(source.wants(Point::kernel));
    source.points = {Point::autoload, Point::kernel};
    EXPECT_TRUE(source.wants(Point::kernel));
    EXPECT_FALSE(source.wants(Point::guest));
    EXPECT_FALSE(loosens(source, PolicySource{}));
}

} // namespace
} // namespace kmodguard::core
