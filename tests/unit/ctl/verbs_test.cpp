// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows that the table of verbs holds together, that each of them is in the manual page, and what an unknown
// one is taken for.
#include "ctl/verbs.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <set>
#include <string>

namespace kmodguard::ctl {
namespace {

using sys::ErrorKind;

bool is_hidden(const Verb& verb) {
    return verb.name.starts_with("__");
}

TEST(VerbTable, NamesAreUniqueAndEachIsFound) {
    std::set<std::string_view> names;
    for (const Verb& verb : verbs()) {
        EXPECT_TRUE(names.insert(verb.name).second) << verb.name;
        EXPECT_EQ(find_verb(verb.name), &verb);
        EXPECT_NE(verb.action.run, nullptr) << verb.name;
    }
    EXPECT_EQ(find_verb("no-such-verb"), nullptr);
    EXPECT_EQ(find_verb(""), nullptr);
}

TEST(VerbTable, HasTheVerbsOfTheContract) {
    for (const char* name : {"init",    "start",  "stop",   "status", "hook",  "allow",     "remove", "apply",
                             "arm",     "disarm", "deny",   "mode",   "check", "explain",   "reload", "lint",
                             "convert", "list",   "doctor", "seal",   "exec",  "oci-agent", "guest"})
        EXPECT_NE(find_verb(name), nullptr) << name;
}

TEST(VerbTable, EveryVerbAndOptionIsExplained) {
    for (const Verb& verb : verbs()) {
        EXPECT_GT(verb.help.size(), 10U) << verb.name;
        EXPECT_LT(verb.help.size(), 80U) << verb.name;
        std::set<std::string_view> options;
        for (const Option& option : verb.options) {
            EXPECT_TRUE(options.insert(option.name).second) << verb.name << " " << option.name;
            EXPECT_FALSE(option.name.starts_with('-')) << verb.name;
            EXPECT_GT(option.help.size(), 10U) << verb.name << " " << option.name;
        }
    }
}

/// A row that names another verb's options would end in an exception.
TEST(VerbTable, EveryOptionAndArgumentGoesToTheOptionsOfItsVerb) {
    for (const Verb& verb : verbs()) {
        Options options = verb.action.options();
        for (const Option& option : verb.options)
            EXPECT_NO_THROW(static_cast<void>(option.set(options, "x"))) << verb.name << " " << option.name;
        if (verb.arguments.set != nullptr) {
            EXPECT_NO_THROW(static_cast<void>(verb.arguments.set(options, "x"))) << verb.name;
        }
    }
}

TEST(VerbTable, ArgumentsAreNamedIfAndOnlyIfThereAreAny) {
    for (const Verb& verb : verbs()) {
        EXPECT_LE(verb.arguments.min, verb.arguments.max) << verb.name;
        EXPECT_EQ(verb.arguments.max > 0, !verb.arguments.shown.empty()) << verb.name;
        EXPECT_EQ(verb.arguments.max > 0, verb.arguments.kind != Argument::none) << verb.name;
        EXPECT_EQ(verb.arguments.max > 0, verb.arguments.set != nullptr) << verb.name;
    }
}

TEST(VerbTable, WhatChangesTheMachineNeedsRoot) {
    for (const char* name : {"start", "stop", "arm", "disarm", "allow", "deny", "remove", "apply", "mode",
                             "reload", "seal", "doctor"}) // init asks for it itself, but for a preview
        EXPECT_TRUE(find_verb(name)->needs_root) << name;
    for (const char* name : {"check", "explain", "lint", "status", "list"})
        EXPECT_FALSE(find_verb(name)->needs_root) << name;
}

TEST(VerbTable, EveryVerbAndOptionIsInTheManualPage) {
    std::ifstream file(std::string(FIXTURES) + "/../../man/kmodctl.8.scd");
    const std::string manual(std::istreambuf_iterator<char>(file), {});
    ASSERT_FALSE(manual.empty());
    for (const Verb& verb : verbs()) {
        if (is_hidden(verb)) continue;
        EXPECT_NE(manual.find("*" + std::string(verb.name) + "*"), std::string::npos) << verb.name;
        for (const Option& option : verb.options)
            EXPECT_NE(manual.find("*--" + std::string(option.name) + "*"), std::string::npos)
                << verb.name << " " << option.name;
    }
}

TEST(NearestVerb, IsTheOneMeant) {
    const std::pair<const char*, const char*> typos[] = {
        {"statu", "status"},  {"staus", "status"},  {"sttaus", "status"},  {"chekc", "check"},
        {"alow", "allow"},    {"allows", "allow"},  {"dissarm", "disarm"}, {"explian", "explain"},
        {"relaod", "reload"}, {"romove", "remove"}, {"Start", "start"}};
    for (const auto& [typed, meant] : typos)
        EXPECT_EQ(nearest_verb(typed), meant) << typed;
}

TEST(NearestVerb, IsNoneIfNoneIsNear) {
    for (const std::string& typed : {std::string("frobnicate"), std::string("x"), std::string("uninstall"),
                                     std::string(33, 's'), std::string(100'000, 'a'), std::string()})
        EXPECT_EQ(nearest_verb(typed), "") << typed;
}

/// Nobody means a verb that no help shows.
TEST(NearestVerb, IsNeverAHiddenOne) {
    EXPECT_EQ(nearest_verb("__complet"), "");
    EXPECT_EQ(nearest_verb("_complete"), "");
}

TEST(ExitCode, IsThatOfTheContract) {
    EXPECT_EQ(exit_code_of(ErrorKind::failed), 1);
    EXPECT_EQ(exit_code_of(ErrorKind::denied), 1);
    EXPECT_EQ(exit_code_of(ErrorKind::invalid), 2);
    EXPECT_EQ(exit_code_of(ErrorKind::not_found), 4);
    EXPECT_EQ(exit_code_of(ErrorKind::unreachable), 5);
    EXPECT_EQ(exit_code_of(ErrorKind::bad_policy), 6);
    EXPECT_EQ(int{exit_done}, 0);
    EXPECT_EQ(int{exit_refused}, 3);
}

} // namespace
} // namespace kmodguard::ctl
