// SPDX-License-Identifier: AGPL-3.0-only
//
// The editor, style by style: before, edit, after.
#include "config/policy_edit.hpp"
#include "support.hpp"

#include <gtest/gtest.h>

namespace kmodguard::config {
namespace {

using namespace test;

std::string edited(const std::string& text, const std::vector<Edit>& edits) {
    const auto result = edit_policy(text, edits);
    return result ? *result : "error: " + result.error().what + " / " + result.error().hint;
}

std::string with(const std::string& text, const std::string& module) {
    return edited(text, {AddEntry{List::allow_modules, module}});
}

std::string without(const std::string& text, const std::string& module) {
    return edited(text, {RemoveEntry{List::allow_modules, module}});
}

/// A policy whose array of allowed modules is written as `array`.
std::string policy(const std::string& array) {
    return "version = 1\n[allow]\nmodules = " + array + "\n# end\n";
}

TEST(PolicyEdit, AnEntryGetsItsOwnLineInAnArrayOverSeveralLines) {
    EXPECT_EQ(with(policy("[\n    \"a\",\n    \"b\", # why\n]"), "c"),
              policy("[\n    \"a\",\n    \"b\", # why\n    \"c\",\n]"));
}

TEST(PolicyEdit, AMissingTrailingCommaStaysMissing) {
    EXPECT_EQ(with(policy("[\n    \"a\",\n    \"b\" # why\n]"), "c"),
              policy("[\n    \"a\",\n    \"b\", # why\n    \"c\"\n]"));
}

TEST(PolicyEdit, AnEntryComesAfterTheCommentsAtTheEnd) {
    EXPECT_EQ(with(policy("[\n  \"a\",\n\n  # disks\n\n]"), "c"),
              policy("[\n  \"a\",\n\n  # disks\n\n  \"c\",\n]"));
}

TEST(PolicyEdit, TheIndentationIsThatOfTheNeighbours) {
    EXPECT_EQ(with(policy("[\n\t\"a\",\n\t]"), "c"), policy("[\n\t\"a\",\n\t\"c\",\n\t]"));
    EXPECT_EQ(with(policy("[\n]"), "c"), policy("[\n    \"c\",\n]"));
    EXPECT_EQ(with(policy("[\n\t]"), "c"), policy("[\n\t\t\"c\",\n\t]"));
    EXPECT_EQ(with(policy("[\n  # none yet\n]"), "c"), policy("[\n  # none yet\n  \"c\",\n]"));
    EXPECT_EQ(with(policy("[\"a\",\n           \"b\"]"), "c"),
              policy("[\"a\",\n           \"b\",\n           \"c\"]"));
    EXPECT_EQ(with(policy("[ \"a\", # first\n]"), "c"), policy("[ \"a\", # first\n    \"c\",\n]"));
    EXPECT_EQ(with(policy("[\n  \"a\",\n  \"b\", ]"), "c"), policy("[\n  \"a\",\n  \"b\",\n  \"c\", ]"));
}

TEST(PolicyEdit, CommasThatOpenTheLineKeepDoingSo) {
    EXPECT_EQ(with(policy("[\n    \"a\"\n  , \"b\"\n]"), "c"),
              policy("[\n    \"a\"\n  , \"b\"\n  , \"c\"\n]"));
}

TEST(PolicyEdit, AnArrayOnOneLineStaysOnOneLine) {
    EXPECT_EQ(with(policy("[\"a\"]"), "c"), policy("[\"a\", \"c\"]"));
    EXPECT_EQ(with(policy("[ \"a\", \"b\" ] # why"), "c"), policy("[ \"a\", \"b\", \"c\" ] # why"));
    EXPECT_EQ(with(policy("[\"a\",\"b\"]"), "c"), policy("[\"a\",\"b\",\"c\"]"));
    EXPECT_EQ(with(policy("[\"a\", \"b\",]"), "c"), policy("[\"a\", \"b\", \"c\",]"));
    EXPECT_EQ(with(policy("[]"), "c"), policy("[\"c\"]"));
    EXPECT_EQ(with(policy("[ ]"), "c"), policy("[ \"c\" ]"));
}

TEST(PolicyEdit, TheQuotesAreThoseOfTheNeighbour) {
    EXPECT_EQ(with(policy("['a']"), "c"), policy("['a', 'c']"));
    EXPECT_EQ(with(policy("['a', \"b\"]"), "c"), policy("['a', \"b\", \"c\"]"));
    EXPECT_EQ(edited("version = 1\ndeny.aliases = ['x']\n", {AddEntry{List::deny_aliases, "it's"}}),
              "version = 1\ndeny.aliases = ['x', \"it's\"]\n");
    EXPECT_EQ(edited("version = 1\ndeny.aliases = []\n", {AddEntry{List::deny_aliases, "a\"b\\c"}}),
              "version = 1\ndeny.aliases = [\"a\\\"b\\\\c\"]\n");
}

TEST(PolicyEdit, RemovingAnEntryRemovesItsLineAndItsComment) {
    EXPECT_EQ(without(policy("[\n  \"a\",\n  # about b\n  \"b\", # why\n  \"c\",\n]"), "b"),
              policy("[\n  \"a\",\n  # about b\n  \"c\",\n]"));
    EXPECT_EQ(without(policy("[\n  \"a\",\n  \"b\" # last\n]"), "b"), policy("[\n  \"a\",\n]"));
    EXPECT_EQ(without(policy("[\n  \"a\" # only\n]"), "a"), policy("[\n]"));
}

TEST(PolicyEdit, RemovingFromASharedLineKeepsTheOthersAndTheComment) {
    EXPECT_EQ(without(policy("[\n  \"a\", \"b\", \"c\", # abc\n]"), "a"),
              policy("[\n  \"b\", \"c\", # abc\n]"));
    EXPECT_EQ(without(policy("[\n  \"a\", \"b\", \"c\", # abc\n]"), "b"),
              policy("[\n  \"a\", \"c\", # abc\n]"));
    EXPECT_EQ(without(policy("[\n  \"a\", \"b\", \"c\", # abc\n]"), "c"),
              policy("[\n  \"a\", \"b\", # abc\n]"));
    EXPECT_EQ(without(policy("[ \"a\", # first\n  \"b\",\n]"), "a"), policy("[ # first\n  \"b\",\n]"));
    EXPECT_EQ(without(policy("[\n  \"a\",\n  \"b\" ]"), "b"), policy("[\n  \"a\",\n ]"));
}

TEST(PolicyEdit, RemovingFromOneLineLeavesATidyLine) {
    EXPECT_EQ(without(policy("[\"a\", \"b\", \"c\"]"), "a"), policy("[\"b\", \"c\"]"));
    EXPECT_EQ(without(policy("[\"a\", \"b\", \"c\"]"), "b"), policy("[\"a\", \"c\"]"));
    EXPECT_EQ(without(policy("[\"a\", \"b\", \"c\"]"), "c"), policy("[\"a\", \"b\"]"));
    EXPECT_EQ(without(policy("[ \"a\", \"b\" ]"), "b"), policy("[ \"a\" ]"));
    EXPECT_EQ(without(policy("[\"a\", \"b\",]"), "b"), policy("[\"a\",]"));
    EXPECT_EQ(without(policy("[\"a\"]"), "a"), policy("[]"));
    EXPECT_EQ(without(policy("[ \"a\" ]"), "a"), policy("[ ]"));
}

TEST(PolicyEdit, RemovingWhereCommasOpenTheLine) {
    const std::string list = "[\n    \"a\"\n  , \"b\" # why\n  , \"c\"\n]";
    EXPECT_EQ(without(policy(list), "b"), policy("[\n    \"a\"\n  , \"c\"\n]"));
    EXPECT_EQ(without(policy(list), "c"), policy("[\n    \"a\"\n  , \"b\" # why\n]"));
    EXPECT_EQ(without(policy(list), "a"), policy("[\n   \"b\" # why\n  , \"c\"\n]"));
}

TEST(PolicyEdit, EverySpellingOfAnEntryIsFound) {
    EXPECT_EQ(
        without(
            policy(
                "[\"foo-bar\", 'foo_bar.ko', \"\"\"foo_bar\"\"\", '''foo-bar''', \"foo\\u005Fbar\", \"x\"]"),
            "foo_bar"),
        policy("[\"x\"]"));
    EXPECT_EQ(without(policy("[\n\"\"\"\nfoo\"\"\", # gone\n\"x\"]"), "foo"), policy("[\n\"x\"]"));
    EXPECT_EQ(edited("version = 1\nallow.aliases = ['net-pf-3', 'b']\n",
                     {RemoveEntry{List::allow_aliases, "net_pf_3"}}),
              "version = 1\nallow.aliases = ['b']\n");
}

TEST(PolicyEdit, BracketsQuotesAndCommentsInStringsDoNotConfuseIt) {
    const std::string text =
        "version = 1\n[allow]\naliases = [\n  '],#\"', # ], '\n  \"]\\\"[\", # x\n] # ]\n";
    EXPECT_EQ(edited(text, {AddEntry{List::allow_aliases, "n"}}),
              "version = 1\n[allow]\naliases = [\n  '],#\"', # ], '\n  \"]\\\"[\", # x\n  \"n\",\n] # ]\n");
    EXPECT_EQ(edited(text, {RemoveEntry{List::allow_aliases, "],#\""}}),
              "version = 1\n[allow]\naliases = [\n  \"]\\\"[\", # x\n] # ]\n");
}

TEST(PolicyEdit, NothingToDoLeavesEveryByte) {
    const std::string text = policy("[\"foo-bar\"] # x  ");
    EXPECT_EQ(with(text, "foo_bar"), text);
    EXPECT_EQ(without(text, "z"), text);
    EXPECT_EQ(edited(text, {SetMode{core::Mode::enforce}}), text);
    EXPECT_EQ(edited(text, {}), text);
    EXPECT_EQ(edited(text, {AddEntry{List::deny_modules, "z"}, RemoveEntry{List::deny_modules, "z"}}), text);
    EXPECT_EQ(
        edited(text, {RemoveEntry{List::allow_modules, "foo-bar"}, AddEntry{List::allow_modules, "foo_bar"}}),
        text);
}

TEST(PolicyEdit, AModuleIsWrittenByItsCanonicalNameOnce) {
    EXPECT_EQ(edited(policy("[]"), {AddEntry{List::allow_modules, "foo-bar.ko.xz"},
                                    AddEntry{List::allow_modules, "foo_bar"}}),
              policy("[\"foo_bar\"]"));
}

TEST(PolicyEdit, AMissingListIsAddedToItsTable) {
    EXPECT_EQ(edited("version = 1\n[allow]\nmodules = [\"a\"] # why\n\n[deny]\n",
                     {AddEntry{List::allow_aliases, "x"}}),
              "version = 1\n[allow]\nmodules = [\"a\"] # why\naliases = [\"x\"]\n\n[deny]\n");
    EXPECT_EQ(edited("version = 1\n  [deny] # none\n# end", {AddEntry{List::deny_modules, "x"}}),
              "version = 1\n  [deny] # none\n  modules = [\n      \"x\",\n  ]\n# end");
    EXPECT_EQ(edited("version = 1\n[deny]", {AddEntry{List::deny_modules, "x"}}),
              "version = 1\n[deny]\nmodules = [\n    \"x\",\n]\n");
    EXPECT_EQ(
        edited("version = 1\n[allow]\nmodules = [\n  \"a\",\n]\ndependencies = true\n",
               {AddEntry{List::allow_aliases, "x"}}),
        "version = 1\n[allow]\nmodules = [\n  \"a\",\n]\ndependencies = true\naliases = [\n    \"x\",\n]\n");
}

TEST(PolicyEdit, AMissingTableIsAddedAtTheEnd) {
    EXPECT_EQ(edited("version = 1", {AddEntry{List::allow_modules, "a"}, AddEntry{List::allow_modules, "b"}}),
              "version = 1\n\n[allow]\nmodules = [\n    \"a\",\n    \"b\",\n]\n");
    EXPECT_EQ(edited(policy("[\"a\"]"), {AddEntry{List::deny_modules, "x"}}),
              policy("[\"a\"]") + "\n[deny]\nmodules = [\"x\"]\n");
    const std::string pin = "[[pin]]\nmodule = 'a'\nsha256 = '" + std::string(64, '0') + "'\n";
    EXPECT_EQ(edited("version = 1\n" + pin, {AddEntry{List::deny_aliases, "x"}}),
              "version = 1\n" + pin + "\n[deny]\naliases = [\n    \"x\",\n]\n");
}

TEST(PolicyEdit, AnEmptyFileBecomesAPolicy) {
    EXPECT_EQ(with("", "a"), "version = 1\n\n[allow]\nmodules = [\n    \"a\",\n]\n");
    EXPECT_EQ(with("# mine\r\n", "a"),
              "# mine\r\nversion = 1\r\n\r\n[allow]\r\nmodules = [\r\n    \"a\",\r\n]\r\n");
    EXPECT_EQ(without("# mine\n", "a"), "# mine\n");
}

TEST(PolicyEdit, DottedKeysStayDotted) {
    EXPECT_EQ(with("version = 1\nallow.modules = ['a']\nmode = 'audit'\n", "b"),
              "version = 1\nallow.modules = ['a', 'b']\nmode = 'audit'\n");
    EXPECT_EQ(edited("version = 1\n  allow . \"modules\" = ['a'] # why\nmode = 'audit'\n[deny]\n",
                     {AddEntry{List::allow_aliases, "x"}}),
              "version = 1\n  allow . \"modules\" = ['a'] # why\n  allow.aliases = [\"x\"]\nmode = "
              "'audit'\n[deny]\n");
    EXPECT_EQ(edited("version = 1\nallow.modules = ['a']", {AddEntry{List::allow_aliases, "x"}}),
              "version = 1\nallow.modules = ['a']\nallow.aliases = [\"x\"]\n");
}

TEST(PolicyEdit, InlineTablesStayInline) {
    EXPECT_EQ(with("version = 1\nallow = { modules = [\"a\"], dependencies = false } # x\n", "b"),
              "version = 1\nallow = { modules = [\"a\", \"b\"], dependencies = false } # x\n");
    EXPECT_EQ(edited("version = 1\nallow = { modules = [\"a\"], dependencies = false } # x\n",
                     {AddEntry{List::allow_aliases, "x"}}),
              "version = 1\nallow = { modules = [\"a\"], dependencies = false, aliases = [\"x\"] } # x\n");
    EXPECT_EQ(edited("version = 1\ndeny = {}\n", {AddEntry{List::deny_modules, "x"}}),
              "version = 1\ndeny = { modules = [\"x\"] }\n");
    EXPECT_EQ(edited("version = 1\ndeny = { }\n", {AddEntry{List::deny_modules, "x"}}),
              "version = 1\ndeny = { modules = [\"x\"] }\n");
}

TEST(PolicyEdit, OddlyWrittenKeysAreFoundAllTheSame) {
    EXPECT_EQ(with("version = 1\n[ \"al\\u006Cow\" ] # x\n'modules'=[\"a\"]\n", "b"),
              "version = 1\n[ \"al\\u006Cow\" ] # x\n'modules'=[\"a\", \"b\"]\n");
    EXPECT_EQ(with("\xEF\xBB\xBFversion = 1\n# \xC3\xA4\nallow = {modules = ['\\u0061'[0]", "b").substr(0, 5),
              "error");
    EXPECT_EQ(with("\xEF\xBB\xBF"
                   "allow.modules = ['a'] # \xC3\xA4\nversion = 1\n",
                   "b"),
              "\xEF\xBB\xBF"
              "allow.modules = ['a', 'b'] # \xC3\xA4\nversion = 1\n");
    EXPECT_EQ(edited("version = 1\nallow = { aliases = ['\xC3\xA4'], modules = ['a'] }\n",
                     {AddEntry{List::allow_modules, "b"}}),
              "version = 1\nallow = { aliases = ['\xC3\xA4'], modules = ['a', 'b'] }\n")
        << "columns count code points";
}

TEST(PolicyEdit, WindowsLineEndsStay) {
    const std::string text = "version = 1\r\n[allow]\r\nmodules = [\r\n  \"a\", # x\r\n  \"b\"\r\n]\r\n";
    EXPECT_EQ(with(text, "c"),
              "version = 1\r\n[allow]\r\nmodules = [\r\n  \"a\", # x\r\n  \"b\",\r\n  \"c\"\r\n]\r\n");
    EXPECT_EQ(without(text, "a"), "version = 1\r\n[allow]\r\nmodules = [\r\n  \"b\"\r\n]\r\n");
    EXPECT_EQ(
        edited(text, {SetMode{core::Mode::audit}}),
        "version = 1\r\nmode = \"audit\"\r\n[allow]\r\nmodules = [\r\n  \"a\", # x\r\n  \"b\"\r\n]\r\n");
}

TEST(PolicyEdit, TheModeIsReplacedInPlaceOrAddedBehindTheVersion) {
    EXPECT_EQ(edited("mode  =  'enforce'  # now\nversion = 1\n", {SetMode{core::Mode::audit}}),
              "mode  =  'audit'  # now\nversion = 1\n");
    EXPECT_EQ(edited("version = 1\nmode = \"\"\"audit\"\"\"\n", {SetMode{core::Mode::enforce}}),
              "version = 1\nmode = \"enforce\"\n");
    EXPECT_EQ(edited("# c\nversion = 1 # v\n\n[allow]\n", {SetMode{core::Mode::audit}}),
              "# c\nversion = 1 # v\nmode = \"audit\"\n\n[allow]\n");
    EXPECT_EQ(edited("version = 1", {SetMode{core::Mode::audit}}), "version = 1\nmode = \"audit\"\n");
    EXPECT_EQ(edited("version = 1\n", {SetMode{core::Mode::audit}, SetMode{core::Mode::enforce}}),
              "version = 1\n");
}

TEST(PolicyEdit, SeveralEditsAtOnce) {
    EXPECT_EQ(edited("version = 1\n[allow]\nmodules = [\n  'a',\n  'b',\n]\naliases = ['x', 'y']\n",
                     {RemoveEntry{List::allow_modules, "a"}, AddEntry{List::allow_modules, "c"},
                      RemoveEntry{List::allow_aliases, "x"}, RemoveEntry{List::allow_aliases, "y"},
                      AddEntry{List::deny_modules, "d"}, SetMode{core::Mode::audit}}),
              "version = 1\nmode = \"audit\"\n[allow]\nmodules = [\n  'b',\n  'c',\n]\naliases = []\n"
              "\n[deny]\nmodules = [\n    \"d\",\n]\n");
}

TEST(PolicyEdit, AnEntryThatCanBeNoneIsRefused) {
    const std::vector<Edit> edits = {AddEntry{List::allow_modules, "snd_*"}};
    const auto result = edit_policy("version = 1\n", edits);
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().kind, sys::ErrorKind::invalid);
    EXPECT_EQ(result.error().what, "\"snd_*\" is a pattern, not a module name");
    EXPECT_EQ(result.error().hint, "patterns and aliases go in allow.aliases");
}

TEST(PolicyEdit, ABrokenPolicyIsNotEdited) {
    const std::vector<Edit> edits = {AddEntry{List::allow_modules, "a"}};
    const auto result = edit_policy("version = 1\nmod = 1\n", edits);
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().kind, sys::ErrorKind::bad_policy);
    EXPECT_EQ(result.error().what, "the policy:2:1: unknown key \"mod\"");
}

} // namespace
} // namespace kmodguard::config
