// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows that everything a person may write for a module comes to one canonical name or to none, and that what
// names nothing is told from what merely is not there.
#include "core/names.hpp"

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace kmodguard::core {
namespace {

using namespace std::string_view_literals;

TEST(ModuleName, IsTheSameForEveryWayToWriteIt) {
    for (const std::string_view written :
         {"foo_bar", "foo-bar", "foo-bar.ko", "foo_bar.ko.xz", "foo-bar.ko.zst", "foo_bar.ko.gz",
          "./foo-bar.ko", "/lib/modules/6.1.0/kernel/foo-bar.ko.xz", "../foo-bar", "/foo-bar",
          "a-b/c.ko/foo-bar.ko"})
        EXPECT_EQ(module_name_of(written), "foo_bar") << written;
}

TEST(ModuleName, KeepsWhatIsPartOfTheName) {
    const std::vector<std::pair<std::string_view, std::string_view>> table = {
        {"bar", "bar"},
        {"8021q", "8021q"},
        {"Foo", "Foo"},
        {"a", "a"},
        {"-", "_"},
        {"foo--bar", "foo__bar"},
        {"foo.ko.ko", "foo.ko"}, // one suffix, once
        {"foo.ko.xz.ko", "foo.ko.xz"},
        {"foo.xz", "foo.xz"}, // compressed, but no module file
        {"foo.ko.bz2", "foo.ko.bz2"},
        {"foo.KO", "foo.KO"},
        {"fooko", "fooko"},
        {"ko", "ko"},
        {"foo.", "foo."},
        {"a+b.c", "a+b.c"},
        {"dvb-usb-dw2102.ko", "dvb_usb_dw2102"},
    };
    for (const auto& [written, name] : table)
        EXPECT_EQ(module_name_of(written), name) << written;
}

TEST(ModuleName, IsNoneForWhatCannotBeAModule) {
    for (const std::string_view written :
         {""sv,           "/"sv,        "x/"sv,           "/lib/modules/"sv, ".ko"sv,     "/x/.ko.xz"sv,
          ".ko.ko"sv,     "."sv,        ".."sv,           "../.."sv,         ".hidden"sv, ".hidden.ko"sv,
          "foo bar"sv,    "foo\tbar"sv, "foo\nbar"sv,     "foo\0bar"sv,      "foo\0"sv,   "foo*"sv,
          "f?o"sv,        "f[o]o"sv,    "foo:bar"sv,      "foo,bar"sv,       "foo=bar"sv, "foo\\bar"sv,
          "f\xc3\xb6o"sv, "foo\xff"sv,  "foo\u2010bar"sv, "foo;id"sv,        "$(id)"sv,   "foo\x7f"sv})
        EXPECT_EQ(module_name_of(written), std::nullopt) << written;
}

TEST(ModuleName, HasAtMostTheBytesThatTheKernelKeeps) {
    EXPECT_EQ(module_name_of(std::string(55, 'm') + ".ko.zst"), std::string(55, 'm'));
    EXPECT_EQ(module_name_of("/d/" + std::string(55, '-')), std::string(55, '_'));
    EXPECT_EQ(module_name_of(std::string(56, 'm')), std::nullopt);
    EXPECT_EQ(module_name_of("/d/" + std::string(56, 'm') + ".ko"), std::nullopt);
}

TEST(ModuleName, IsRecognisedAsCanonicalOnlyWhenItIs) {
    for (const std::string_view name : {"a"sv, "foo_bar"sv, "8021q"sv, "A.b+c"sv, "_"sv})
        EXPECT_TRUE(is_module_name(name)) << name;
    EXPECT_TRUE(is_module_name(std::string(55, 'x')));
    for (const std::string_view name : {""sv, "foo-bar"sv, ".foo"sv, "a/b"sv, "a b"sv, "a\0"sv, "\xc3\xa9"sv,
                                        "a@"sv, "a`"sv, "a{"sv, "a["sv, "a:"sv})
        EXPECT_FALSE(is_module_name(name)) << name;
    EXPECT_FALSE(is_module_name(std::string(56, 'x')));
}

TEST(Folding, TurnsEveryDash) {
    EXPECT_EQ(fold("net-pf-15"), "net_pf_15");
    EXPECT_EQ(fold("-a--b-"), "_a__b_");
    EXPECT_EQ(fold("[a-z]"), "[a_z]");
    EXPECT_EQ(fold(""), "");
    EXPECT_EQ(fold("\xe2\x80\x90"), "\xe2\x80\x90"); // U+2010 is a hyphen, not a dash
}

TEST(Folding, LeavesARangeInAPatternAlone) {
    EXPECT_EQ(fold_pattern("net-pf-1[0-5]-proto-*"), "net_pf_1[0-5]_proto_*");
    EXPECT_EQ(fold_pattern("[a-c][d-f]-[g-i]"), "[a-c][d-f]_[g-i]");
    EXPECT_EQ(fold_pattern("a-]b-c"), "a_]b_c");
    EXPECT_EQ(fold_pattern("a-[b-c"), "a_[b-c");
    EXPECT_EQ(fold_pattern(""), "");
}

TEST(Token, MayBeAnythingThatSomebodyCouldHaveNamed) {
    for (const std::string_view token : {"loop"sv,
                                         "net-pf-15"sv,
                                         "pci:v00008086d000015B8sv*"sv,
                                         "block-major-7-*"sv,
                                         "char-major-10-229"sv,
                                         "dmi*:svnDell Inc.:pn*:"sv,
                                         "of:N*T*Cbrcm,bcm2835"sv,
                                         "crypto-cbc(aes)"sv,
                                         "fs-ext4"sv,
                                         "_"sv,
                                         " "sv,
                                         "a-"sv,
                                         "\xc3\xb6"sv,
                                         "\xe2\x82\xac"sv,
                                         "\xf0\x9f\x90\xa7"sv,
                                         "\xf4\x8f\xbf\xbf"sv,
                                         "\xed\x9f\xbf"sv,
                                         "\xee\x80\x80"sv,
                                         "\xe0\xa0\x80"sv,
                                         "\xf0\x90\x80\x80"sv,
                                         "\xc2\xa0"sv,
                                         "~"sv})
        EXPECT_TRUE(is_token(token)) << token;
}

TEST(Token, MayLookDangerousAndMerelyNamesNothing) {
    for (const std::string_view token :
         {"../../tmp/x"sv, "/tmp/evil.ko"sv, "./x"sv, "$(reboot)"sv, "`id`"sv, "a; rm -rf /"sv, "a|b&c>d"sv,
          "\"'"sv, "%n%s"sv, "\\x1b"sv, "*"sv, "[a"sv})
        EXPECT_TRUE(is_token(token)) << token;
}

TEST(Token, IsNeverAnOption) {
    for (const std::string_view token : {"-r"sv, "-"sv, "--remove"sv, "-q loop"sv, "-C/tmp/x"sv})
        EXPECT_FALSE(is_token(token)) << token;
}

TEST(Token, HasNoControlCharacters) {
    for (const std::string_view token :
         {"a\0"sv, "\0"sv, "a\nb"sv, "\r"sv, "a\tb"sv, "\x1b[2J"sv, "a\x7f"sv, "\x01"sv, "a\x1f"sv})
        EXPECT_FALSE(is_token(token)) << token;
}

TEST(Token, HasNoControlCharactersBeyondAsciiEither) {
    EXPECT_FALSE(is_token("a\xc2\x80"sv)); // U+0080, the first
    EXPECT_FALSE(is_token("\xc2\x9b"       // U+009B: to some terminals the same as ESC [
                          "31m"sv));
    EXPECT_FALSE(is_token("a\xc2\x9f"sv)); // U+009F, the last
}

TEST(Token, IsValidUtf8) {
    const std::vector<std::pair<std::string_view, std::string_view>> table = {
        {"a continuation byte alone", "\x80"sv},
        {"the last continuation byte alone", "a\xbf"sv},
        {"two bytes, cut", "a\xc3"sv},
        {"two bytes, not continued", "\xc3("sv},
        {"three bytes, cut after one", "\xe2"sv},
        {"three bytes, cut after two", "\xe2\x82"sv},
        {"three bytes, broken in the middle", "\xe2(\xa1"sv},
        {"four bytes, cut", "\xf0\x9f\x90"sv},
        {"four bytes, broken at the end", "\xf0\x9f\x90("sv},
        {"a slash in two bytes", "\xc0\xaf"sv},
        {"DEL in two bytes", "\xc1\xbf"sv},
        {"a slash in three bytes", "\xe0\x80\xaf"sv},
        {"the largest overlong in three bytes", "\xe0\x9f\xbf"sv},
        {"a slash in four bytes", "\xf0\x80\x80\xaf"sv},
        {"the largest overlong in four bytes", "\xf0\x8f\xbf\xbf"sv},
        {"the first surrogate", "\xed\xa0\x80"sv},
        {"the last surrogate", "\xed\xbf\xbf"sv},
        {"beyond U+10FFFF", "\xf4\x90\x80\x80"sv},
        {"a lead byte that never was", "\xf5\x80\x80\x80"sv},
        {"five bytes", "\xf8\x88\x80\x80\x80"sv},
        {"FE", "\xfe"sv},
        {"FF", "\xff"sv},
        {"Latin-1", "caf\xe9"sv},
    };
    for (const auto& [what, token] : table)
        EXPECT_FALSE(is_token(token)) << what;
}

TEST(Token, HasABoundedLength) {
    EXPECT_FALSE(is_token(""));
    EXPECT_TRUE(is_token("x"));
    EXPECT_TRUE(is_token(std::string(2048, 'x')));
    EXPECT_FALSE(is_token(std::string(2049, 'x')));
    EXPECT_FALSE(is_token(std::string(5000, 'x')));
    EXPECT_TRUE(is_token(std::string(2046, 'x') + "\xc3\xa9"));
    EXPECT_FALSE(is_token(std::string(2047, 'x') + "\xc3")); // cut off at the limit
}

TEST(Printable, LeavesOrdinaryTextAsItIs) {
    EXPECT_EQ(printable("net-pf-15"), "net-pf-15");
    EXPECT_EQ(printable("Gr\xc3\xb6\xc3\x9f"
                        "e \xf0\x9f\x90\xa7"),
              "Gr\xc3\xb6\xc3\x9f"
              "e \xf0\x9f\x90\xa7");
    EXPECT_EQ(printable(""), "");
}

TEST(Printable, ShowsWhatATerminalWouldObey) {
    EXPECT_EQ(printable("\x1b[31m"), "\\x1b[31m");
    EXPECT_EQ(printable("a\nb\r\t\x7f"), "a\\x0ab\\x0d\\x09\\x7f");
    EXPECT_EQ(printable("a\0b"sv), "a\\x00b");
    EXPECT_EQ(printable("\xc2\x9b"
                        "31m"),
              "\\xc2\\x9b31m");
}

TEST(Printable, ShowsTheBytesOfInvalidUtf8AndGoesOn) {
    EXPECT_EQ(printable("a\xff"
                        "b"),
              "a\\xffb");
    EXPECT_EQ(printable("\xc0\xaf"), "\\xc0\\xaf");
    EXPECT_EQ(printable("\xe2\x82"), "\\xe2\\x82");
    EXPECT_EQ(printable("\xe2\x82"
                        "a"),
              "\\xe2\\x82"
              "a");
    EXPECT_EQ(printable("\xed\xa0\x80"), "\\xed\\xa0\\x80");
}

TEST(Printable, CutsLongTextAndSaysSo) {
    EXPECT_EQ(printable("abcdef", 6), "abcdef");
    EXPECT_EQ(printable("abcdefg", 6), "abcdef...");
    EXPECT_EQ(printable(std::string(256, 'x')), std::string(256, 'x'));
    EXPECT_EQ(printable(std::string(257, 'x')), std::string(256, 'x') + "...");
    EXPECT_EQ(printable("abc", 0), "...");
}

TEST(Printable, NeverCutsACharacterInTwo) {
    EXPECT_EQ(printable("ab\xe2\x82\xac"
                        "cd",
                        3),
              "ab\xe2\x82\xac...");
    EXPECT_TRUE(is_token(printable(std::string(255, 'x') + "\xf0\x9f\x90\xa7yz")));
}

TEST(Printable, IsSafeForEveryPairOfBytes) {
    for (int first = 0; first < 256; ++first) {
        for (int second = 0; second < 256; ++second) {
            const std::string text = {static_cast<char>(first), static_cast<char>(second)};
            ASSERT_TRUE(is_token("t" + printable(text))) << first << ' ' << second;
        }
    }
}

} // namespace
} // namespace kmodguard::core
