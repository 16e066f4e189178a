// SPDX-License-Identifier: AGPL-3.0-only
//
// Bad policies: exactly what their authors are told.
#include "config/diagnostic.hpp"
#include "support.hpp"

#include <gtest/gtest.h>

namespace kmodguard::config {
namespace {

using namespace test;

/// Of a policy that begins with a version, so that the text under test begins in line 2.
std::string said(const std::string& text) {
    return said_of("version = 1\n" + text);
}

TEST(PolicyErrors, VersionIsRequired) {
    EXPECT_EQ(said_of(""), "p.toml:1:1: error: the file has no version\n"
                           "  hint: begin the file with \"version = 1\"\n");
    EXPECT_EQ(said_of("version = 'one'"),
              "p.toml:1:11: error: version: expected an integer, found the string \"one\"\n");
    EXPECT_EQ(said_of("version = 0"), "p.toml:1:11: error: there is no version 0\n"
                                      "  hint: begin the file with \"version = 1\"\n");
}

TEST(PolicyErrors, ANewerVersionIsSaidAloneWhateverElseIsNew) {
    EXPECT_EQ(said_of("future = true\nversion = 2"),
              "p.toml:2:11: error: written for a newer kmodguard: version 2, and this one reads version 1\n"
              "  hint: upgrade kmodguard, or write the policy in version 1\n");
}

TEST(PolicyErrors, UnknownKeysSuggestTheNearest) {
    EXPECT_EQ(said("mod = 'audit'"),
              "p.toml:2:1: error: unknown key \"mod\"\n  hint: did you mean \"mode\"?\n");
    EXPECT_EQ(said("[allow]\nmodule = []"),
              "p.toml:3:1: error: unknown key \"module\" in [allow]\n  hint: did you mean \"modules\"?\n");
    EXPECT_EQ(said("[deny]\n  alias = []"),
              "p.toml:3:3: error: unknown key \"alias\" in [deny]\n  hint: did you mean \"aliases\"?\n");
    EXPECT_EQ(said("[[pin]]\nmodule = 'a'\nsha265 = ''\n"),
              "p.toml:2:1: error: a pin without \"sha256\"\n  hint: a pin takes module and sha256\n"
              "p.toml:4:1: error: unknown key \"sha265\" in [[pin]]\n  hint: did you mean \"sha256\"?\n");
}

TEST(PolicyErrors, KeysInTheWrongTableSayWhereTheyBelong) {
    EXPECT_EQ(said("answer = 'pretend'"),
              "p.toml:2:1: error: unknown key \"answer\"\n  hint: it belongs under [deny]\n");
    EXPECT_EQ(said("unload = true"),
              "p.toml:2:1: error: unknown key \"unload\"\n  hint: it belongs under [deny]\n");
    EXPECT_EQ(said("[deny]\nquiet = true"),
              "p.toml:3:1: error: unknown key \"quiet\" in [deny]\n"
              "  hint: it belongs under no table: move it above the first one\n");
    EXPECT_EQ(said("modules = []"),
              "p.toml:2:1: error: unknown key \"modules\"\n  hint: it belongs under [allow] or [deny]\n");
    EXPECT_EQ(said("dependencies = true"),
              "p.toml:2:1: error: unknown key \"dependencies\"\n  hint: it belongs under [allow]\n");
    EXPECT_EQ(said("sha256 = ''"),
              "p.toml:2:1: error: unknown key \"sha256\"\n  hint: it belongs under [[pin]]\n");
    EXPECT_EQ(said("[deny]\nmode = 'audit'"),
              "p.toml:3:1: error: unknown key \"mode\" in [deny]\n"
              "  hint: it belongs under no table: move it above the first one\n");
}

TEST(PolicyErrors, OtherUnknownKeysListTheKnownOnes) {
    EXPECT_EQ(said("[allow]\nsomething = 1"),
              "p.toml:3:1: error: unknown key \"something\" in [allow]\n"
              "  hint: known here: modules, aliases, dependencies, user_namespaces\n");
}

TEST(PolicyErrors, WrongTypesSayWhatWasExpectedAndFound) {
    EXPECT_EQ(said("mode = 1"), "p.toml:2:8: error: mode: expected a string, found the integer 1\n");
    EXPECT_EQ(said("mode = [1]"), "p.toml:2:8: error: mode: expected a string, found an array\n");
    EXPECT_EQ(said("kernel_release = 6.1"),
              "p.toml:2:18: error: kernel_release: expected a string, found a floating-point number\n");
    EXPECT_EQ(said("generated_at = 07:30:00"),
              "p.toml:2:16: error: generated_at: expected a date-time or a string, found a time\n");
    EXPECT_EQ(said("points = 'kernel'"),
              "p.toml:2:10: error: points: expected an array of strings, found the string \"kernel\"\n");
    EXPECT_EQ(said("points = [1]"), "p.toml:2:11: error: points: expected a string, found the integer 1\n");
    EXPECT_EQ(said("allow = ['loop']"), "p.toml:2:9: error: allow: expected a table, found an array\n");
    EXPECT_EQ(said("deny = 2026-01-01"),
              "p.toml:2:8: error: deny: expected a table, found the date 2026-01-01\n");
    EXPECT_EQ(
        said("deny.answer = 2026-01-01T00:00:00Z"),
        "p.toml:2:15: error: deny.answer: expected a string, found the date-time 2026-01-01T00:00:00Z\n");
    EXPECT_EQ(said("allow.modules = 'loop'"),
              "p.toml:2:17: error: allow.modules: expected an array of strings, found the string \"loop\"\n");
    EXPECT_EQ(said("allow.modules = [ {} ]"),
              "p.toml:2:19: error: allow.modules: expected a string, found a table\n");
    EXPECT_EQ(said("allow.dependencies = 'no'"),
              "p.toml:2:22: error: allow.dependencies: expected true or false, found the string \"no\"\n");
    EXPECT_EQ(
        said("allow.user_namespaces = 'yes'"),
        "p.toml:2:25: error: allow.user_namespaces: expected true or false, found the string \"yes\"\n");
    EXPECT_EQ(said("deny.aliases = true"),
              "p.toml:2:16: error: deny.aliases: expected an array of strings, found true\n");
    EXPECT_EQ(said("[pin]\nmodule = 'a'"),
              "p.toml:2:1: error: pin: expected tables headed [[pin]], found a table\n");
    EXPECT_EQ(said("pin = [1]"),
              "p.toml:2:8: error: pin: expected tables headed [[pin]], found the integer 1\n");
    EXPECT_EQ(said("quiet = 1"), "p.toml:2:9: error: quiet: expected true or false, found the integer 1\n");
    EXPECT_EQ(said("deny.unload = 'yes'"),
              "p.toml:2:15: error: deny.unload: expected true or false, found the string \"yes\"\n");
    EXPECT_EQ(said("[[pin]]\nmodule = 1\nsha256 = false"),
              "p.toml:3:10: error: pin.module: expected a string, found the integer 1\n"
              "p.toml:4:10: error: pin.sha256: expected a string, found false\n");
}

TEST(PolicyErrors, UnknownWordsNameTheKnownOnes) {
    EXPECT_EQ(said("mode = 'log'"),
              "p.toml:2:8: error: unknown mode \"log\"\n  hint: use \"enforce\" or \"audit\"\n");
    EXPECT_EQ(said("deny.answer = 'lie'"),
              "p.toml:2:15: error: unknown answer \"lie\"\n  hint: use \"refuse\" or \"pretend\"\n");
    EXPECT_EQ(said("points = ['kernel', 'bios']"),
              "p.toml:2:21: error: unknown point \"bios\"\n  hint: use \"autoload\" and \"kernel\"\n");
}

TEST(PolicyErrors, AnEmptyListOfPointsWouldGuardNothing) {
    EXPECT_EQ(said("points = []"),
              "p.toml:2:10: error: points is empty: nothing would be guarded\n"
              "  hint: leave the key out to guard every point that this machine can hold\n");
}

TEST(PolicyErrors, PointsThatAPolicyDoesNotArmAreWarnedOf) {
    EXPECT_EQ(said("points = ['kernel', 'process']"),
              "p.toml:2:21: warning: \"process\" is not armed by a policy\n"
              "  hint: `kmodctl exec` and `kmodctl guest` hold these points for what they start\n");
}

TEST(PolicyErrors, ModuleEntriesMustBeNames) {
    const auto entry = [](const std::string& text) { return said("[allow]\nmodules = [" + text + "]"); };
    EXPECT_EQ(entry("''"),
              "p.toml:3:12: error: allow.modules: an empty module name\n  hint: remove the entry\n");
    EXPECT_EQ(entry("'kernel/net/foo-bar.ko.xz'"),
              "p.toml:3:12: error: allow.modules: \"kernel/net/foo-bar.ko.xz\" is a path, not a module name\n"
              "  hint: write \"foo_bar\"\n");
    EXPECT_EQ(entry("'a/'"), "p.toml:3:12: error: allow.modules: \"a/\" is a path, not a module name\n"
                             "  hint: write the module's name alone\n");
    EXPECT_EQ(entry("'snd_*'"),
              "p.toml:3:12: error: allow.modules: \"snd_*\" is a pattern, not a module name\n"
              "  hint: patterns and aliases go in allow.aliases\n");
    EXPECT_EQ(entry("'pci:v8086'"),
              "p.toml:3:12: error: allow.modules: \"pci:v8086\" is an alias, not a module name\n"
              "  hint: patterns and aliases go in allow.aliases\n");
    EXPECT_EQ(entry("'" + std::string(56, 'a') + "'"),
              "p.toml:3:12: error: allow.modules: \"" + std::string(56, 'a')
                  + "\" is longer than a module name can be (55 bytes)\n"
                    "  hint: write the name as lsmod shows it\n");
    EXPECT_EQ(entry("\"a b\\u0007\""),
              "p.toml:3:12: error: allow.modules: \"a b\\x07\" is not a module name\n"
              "  hint: letters, digits, '_', '-', '+' and '.' only, as lsmod shows it\n");
    EXPECT_EQ(said("deny.modules = ['x?']"),
              "p.toml:2:17: error: deny.modules: \"x?\" is a pattern, not a module name\n"
              "  hint: patterns and aliases go in deny.aliases\n");
}

TEST(PolicyErrors, AliasEntriesMustBePossibleTokens) {
    const auto entry = [](const std::string& text) { return said("[deny]\naliases = [" + text + "]"); };
    EXPECT_EQ(entry("''"), "p.toml:3:12: error: deny.aliases: an empty alias\n  hint: remove the entry\n");
    EXPECT_EQ(entry("'-x'"), "p.toml:3:12: error: deny.aliases: \"-x\" begins with '-': no alias does, it "
                             "would be taken for an option\n"
                             "  hint: remove the '-'\n");
    EXPECT_EQ(entry("\"a\\nb\""), "p.toml:3:12: error: deny.aliases: \"a\\x0ab\" holds control characters\n"
                                  "  hint: write the alias as `modinfo -F alias` shows it\n");
    EXPECT_EQ(entry("'" + std::string(2049, 'a') + "'"),
              "p.toml:3:12: error: deny.aliases: an alias of 2049 bytes; at most 2048 are possible\n"
              "  hint: cut it short with '*'\n");
    EXPECT_EQ(entry("'" + std::string(2048, 'a') + "'"), "");
}

TEST(PolicyErrors, PinsMustNameOneModuleAndOneHash) {
    const std::string hash(64, 'a');
    EXPECT_EQ(said("[[pin]]\nmodule = 'a*'\nsha256 = '" + hash + "'"),
              "p.toml:3:10: error: pin.module: \"a*\" is a pattern, not a module name\n"
              "  hint: a pin names one module\n");
    EXPECT_EQ(said("[[pin]]\nmodule = 'a'\nsha256 = 'abc'"),
              "p.toml:4:10: error: pin.sha256 has 3 characters; a SHA-256 has 64 hexadecimal digits\n"
              "  hint: take it from the uncompressed image: sha256sum of the .ko file\n");
    EXPECT_EQ(said("[[pin]]\nmodule = 'a'\nsha256 = '" + std::string(64, 'g') + "'"),
              "p.toml:4:10: error: pin.sha256 holds something else than hexadecimal digits\n"
              "  hint: take it from the uncompressed image: sha256sum of the .ko file\n");
    EXPECT_EQ(said("[[pin]]\nsha256 = '" + hash + "'"),
              "p.toml:2:1: error: a pin without \"module\"\n  hint: a pin takes module and sha256\n");
}

TEST(PolicyErrors, NotesMustBeShortAndPlain) {
    EXPECT_EQ(said("kernel_release = \"a\\u001b\""),
              "p.toml:2:18: error: kernel_release is too long or holds control characters\n");
    EXPECT_EQ(said("generated_at = '" + std::string(2049, 'a') + "'"),
              "p.toml:2:16: error: generated_at is too long or holds control characters\n");
}

TEST(PolicyErrors, RepetitionsAreWarnedOfOnce) {
    EXPECT_EQ(said("[allow]\nmodules = [\n'a-b',\n'a_b',\n'a_b.ko' ]\naliases = ['net-pf-1', 'net_pf_1']"),
              "p.toml:5: warning: allow.modules already lists \"a_b\" (line 4 of p.toml)\n"
              "  hint: remove one of them\n"
              "p.toml:7: warning: allow.aliases already lists \"net_pf_1\" (line 7 of p.toml)\n"
              "  hint: remove one of them\n");
    const std::string pin = "[[pin]]\nmodule = 'a'\nsha256 = '" + std::string(64, '0') + "'\n";
    EXPECT_EQ(said(pin + pin),
              "p.toml:5: warning: this pin of \"a\" is given twice\n  hint: remove one of them\n");
}

TEST(PolicyErrors, ContradictionsAreWarnedOf) {
    EXPECT_EQ(said("[allow]\nmodules = ['a']\naliases = ['x']\n[deny]\nmodules = ['a']\naliases = ['x']\n"),
              "p.toml:3: warning: \"a\" is both allowed and denied (line 6 of p.toml): it will be refused\n"
              "  hint: deny always wins: remove it from allow.modules or from deny.modules\n"
              "p.toml:4: warning: \"x\" is both allowed and denied (line 7 of p.toml): it will be refused\n"
              "  hint: deny always wins: remove it from allow.aliases or from deny.aliases\n");
}

TEST(PolicyErrors, AllErrorsOfAFileAreReportedInItsOrder) {
    EXPECT_EQ(
        said("zzzzz = 1\nmode = 'x'\n[deny]\nmodules = ['/']\n"),
        "p.toml:2:1: error: unknown key \"zzzzz\"\n"
        "  hint: known here: version, generated_at, kernel_release, mode, quiet, points, allow, deny, pin\n"
        "p.toml:3:8: error: unknown mode \"x\"\n  hint: use \"enforce\" or \"audit\"\n"
        "p.toml:5:12: error: deny.modules: \"/\" is a path, not a module name\n"
        "  hint: write the module's name alone\n");
}

TEST(PolicyErrors, AreNotReportedWithoutEnd) {
    std::string text = "version = 1\n[allow]\nmodules = [";
    for (int i = 0; i < 1500; ++i)
        text += "'/',\n";
    const auto policy = parse_policy(text + "]", "p.toml");
    ASSERT_FALSE(policy);
    EXPECT_EQ(policy.error().size(), 1001U);
    EXPECT_EQ(render(policy.error().back()), "p.toml: error: more errors are not shown");
}

TEST(PolicyErrors, SyntaxErrorsShowTheirPlace) {
    EXPECT_EQ(said("mode = audit"),
              "p.toml:2:8: error: not TOML: could not determine value type (in a value)\n"
              "  hint: strings stand in quotes, entries of a list are separated by commas\n");
    const std::string unterminated = said("mode = \"audit\nx = 1");
    EXPECT_TRUE(unterminated.starts_with("p.toml:2:14: error: not TOML: ")) << unterminated;
    const std::string repeated = said("mode = 'audit'\nmode = 'audit'");
    EXPECT_TRUE(repeated.starts_with("p.toml:3:")) << repeated;
    EXPECT_NE(repeated.find("cannot redefine existing string 'mode'"), std::string::npos) << repeated;
}

TEST(PolicyErrors, AHeaderThatIsNoKeyIsASyntaxErrorAndNoCrash) {
    EXPECT_TRUE(said("[@allow]").starts_with("p.toml:2:2: error: not TOML: ")) << said("[@allow]");
}

TEST(PolicyErrors, LettersOutsideOfQuotesAreASyntaxErrorAndNoCrash) {
    for (const char* text : {"\xC3\xA4 = 1", "mode = \xCB\xA2", "mode = 1\xC3\xA4", "mode = 'audit' \xC3\xA4",
                             "mode = \"\"\"\\\xC3\xA4\"\"\"", "mode\xE3\x80\x80= 'audit'"}) {
        EXPECT_TRUE(said(text).starts_with("p.toml:2:")) << said(text);
        EXPECT_NE(said(text).find(": error: not TOML: "), std::string::npos) << said(text);
    }
}

TEST(PolicyErrors, BytesThatAreNoTextAreDiagnosed) {
    EXPECT_EQ(said(std::string("mode\0 = 1", 9)),
              "p.toml:2:5: error: a NUL byte: this is not a text file\n"
              "  hint: restore the file from a backup, or write a new one with `kmodctl init --force`\n");
    const std::string invalid = said("[allow]\nmodules = ['a\xFF']");
    EXPECT_TRUE(invalid.starts_with("p.toml:3:")) << invalid;
    EXPECT_NE(invalid.find("error: not TOML: "), std::string::npos) << invalid;
    EXPECT_EQ(invalid.find('\xFF'), std::string::npos) << "no raw byte reaches the terminal";
}

TEST(PolicyErrors, DeepNestingIsDiagnosed) {
    const auto is_refused = [](const std::string& text) {
        return said_of(text).find(": error: ") != std::string::npos;
    };
    const auto repeated = [](const std::string& piece, std::size_t count) {
        std::string text;
        while (count-- > 0)
            text += piece;
        return text;
    };
    EXPECT_TRUE(is_refused("version = 1\nx = " + repeated("[", 1'000'000)));
    EXPECT_TRUE(is_refused("version = 1\nx = " + repeated("[", 17) + repeated("]", 17)));
    EXPECT_TRUE(is_refused("version = 1\nx = " + repeated("{a = ", 100'000)));
    EXPECT_TRUE(is_refused("version = 1\n[a" + repeated(".a", 1'000'000) + "]"));
    EXPECT_TRUE(is_refused("version = 1\na" + repeated(".a", 900) + " = 1\n"));
    EXPECT_TRUE(is_refused("version = 1\nx = [" + repeated("1,", 1'000'000) + "]"));
}

TEST(PolicyErrors, TextsAreBoundedToo) {
    EXPECT_EQ(said_of("version = 1\n# long\n", {.file_bytes = 5}),
              "p.toml: error: larger than 5 bytes\n"
              "  hint: cover whole families of modules by patterns in allow.aliases\n");
}

} // namespace
} // namespace kmodguard::config
