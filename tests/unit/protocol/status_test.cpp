// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows that the daemon's status gets to the other end as it is, that what cannot be read is not taken for
// nothing, and that docs/PROTOCOL.md has the rows of the table.
#include "protocol/answers.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <set>
#include <string>

namespace kmodguard::protocol {
namespace {

using Fields = std::vector<Field>;

/// With a value of its own in each member.
DaemonStatus full_status() {
    return {.version = "1.2",
            .kernel = "6.1.0-9",
            .generation = 3,
            .policy_valid = true,
            .mode = core::Mode::audit,
            .wanted_mode = core::Mode::enforce,
            .wanted_problem = "no room",
            .mode_forced = "the command line",
            .mode_seconds_left = 90,
            .policy_files = {"/a", "/b c"},
            .policy_error = "p:1: error",
            .newer_files = {"/b c"},
            .policy_warnings = {"odd", "42"},
            .index_error = "no index",
            .allowed_modules = 4,
            .allowed_aliases = 5,
            .denied = 6,
            .user_namespaces = true,
            .unsaved_changes = 7,
            .allowed = 8,
            .refused = 9,
            .audited = 10,
            .events_lost = 11};
}

TEST(DaemonStatus, IsTheSameAtTheOtherEnd) {
    for (const DaemonStatus& status : {full_status(), DaemonStatus{}}) {
        Answer answer;
        answer.fields = fields_of(status);
        const auto received = parse_answer(encode(answer));
        ASSERT_TRUE(received);
        const auto read = daemon_status_of(received->fields);
        ASSERT_TRUE(read) << read.error().what;
        EXPECT_EQ(fields_of(*read), answer.fields);
    }
    EXPECT_EQ(daemon_status_of(fields_of(full_status()))->policy_warnings,
              (std::vector<std::string>{"odd", "42"}));
}

TEST(DaemonStatus, HasALineForEveryMember) {
    std::set<std::string> keys;
    for (const Field& field : fields_of(full_status()))
        keys.insert(field.key);
    EXPECT_EQ(keys.size(), std::tuple_size_v<decltype(daemon_status_table)>);
}

TEST(DaemonStatus, WhatOnlyAnotherVersionKnowsIsPassedOver) {
    const auto read = daemon_status_of(Fields{{"moon", "full"}, {"generation", "2"}});
    ASSERT_TRUE(read);
    EXPECT_EQ(read->generation, 2U);
    EXPECT_EQ(read->mode, std::nullopt) << "not taken for enforce mode";
}

TEST(DaemonStatus, WhatCannotBeReadIsAnErrorThatNamesIt) {
    for (const Field& field :
         {Field{"generation", "many"}, Field{"generation", ""}, Field{"refused", "-1"},
          Field{"refused", "1 "}, Field{"refused", "99999999999999999999"}, Field{"mode", "off"},
          Field{"policy-valid", "true"}, Field{"user-namespaces", ""}}) {
        const auto read = daemon_status_of(Fields{field});
        ASSERT_FALSE(read) << field.key << " " << field.value;
        EXPECT_NE(read.error().what.find(field.key + " " + field.value), std::string::npos)
            << read.error().what;
    }
}

TEST(DaemonStatus, IsDocumentedRowByRow) {
    std::ifstream file(std::string(FIXTURES) + "/../../docs/PROTOCOL.md");
    const std::string document(std::istreambuf_iterator<char>(file), {});
    const std::size_t heading = document.find("## Status\n");
    ASSERT_NE(heading, std::string::npos);
    std::string expected;
    std::apply(
        [&](const auto&... rows) {
            ((expected += "| `" + std::string(rows.key) + "` | " + std::string(rows.meaning) + " |\n"), ...);
        },
        daemon_status_table);
    const std::string section = document.substr(heading, document.find("\n## ", heading + 1) - heading);
    const std::size_t begin = section.find("|---|---|\n");
    ASSERT_NE(begin, std::string::npos);
    EXPECT_EQ(section.substr(begin + 10), expected);
}

core::Policy listed_policy() {
    core::PolicySource source;
    source.files = {"/p.toml", "/d.toml"};
    source.allow_modules = {{"loop", {.file = 0, .line = 3}}, {"new", {}}};
    source.deny_aliases = {{"net-pf-*", {.file = 1, .line = 9}}};
    source.user_namespaces = true;
    source.user_namespaces_origin = {.file = 1, .line = 2};
    return core::Policy(std::move(source));
}

TEST(ListedRules, HaveTheirListAndTheirOrigin) {
    EXPECT_EQ(fields_of(listed_rules(listed_policy())), (Fields{{"allow.user_namespaces", "true"},
                                                                {"origin", "/d.toml:2"},
                                                                {"allow.modules", "loop"},
                                                                {"origin", "/p.toml:3"},
                                                                {"allow.modules", "new"},
                                                                {"origin", ""},
                                                                {"deny.aliases", "net-pf-*"},
                                                                {"origin", "/d.toml:9"}}));
    EXPECT_TRUE(listed_rules(core::Policy()).empty());
}

TEST(ListedRules, AreTheSameAtTheOtherEnd) {
    Fields fields = fields_of(listed_rules(listed_policy()));
    fields.insert(fields.begin(), {"policy-newer", "/p.toml"});
    const auto rules = listed_rules_of(fields);
    ASSERT_EQ(rules.size(), 4U);
    EXPECT_EQ(rules[3].list, "deny.aliases");
    EXPECT_EQ(rules[3].text, "net-pf-*");
    EXPECT_EQ(rules[3].origin, "/d.toml:9");
    EXPECT_EQ(rules[2].origin, "");
}

} // namespace
} // namespace kmodguard::protocol
