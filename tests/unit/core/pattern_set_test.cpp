// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows that a set of patterns answers as fnmatch(3) does for each of them in turn, however they are filed,
// and that it names the rule that comes first.
#include "core/names.hpp"
#include "core/pattern_set.hpp"
#include "random.hpp"

#include <fnmatch.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace kmodguard::core {
namespace {

PatternSet set_of(const std::vector<std::string>& patterns) {
    PatternSet set;
    std::uint32_t id = 0;
    for (const std::string& pattern : patterns)
        set.add(pattern, id++);
    return set;
}

/// '-' is '_' outside [...], as in modprobe; written apart from the code under test.
std::string with_underscores(const std::string& text, bool is_pattern) {
    std::string result;
    int depth = 0;
    for (const char c : text) {
        if (c == '[') depth = 1;
        if (c == ']') depth = 0;
        result += c == '-' && !(is_pattern && depth > 0) ? '_' : c;
    }
    return result;
}

/// One fnmatch(3) after the other.
std::optional<std::uint32_t> first_match(const std::vector<std::string>& patterns, const std::string& token) {
    for (std::uint32_t id = 0; id < patterns.size(); ++id)
        if (::fnmatch(with_underscores(patterns[id], true).c_str(), with_underscores(token, false).c_str(), 0)
            == 0)
            return id;
    return std::nullopt;
}

std::string random_text(test::Random& random, std::string_view alphabet, std::size_t longest) {
    std::string text(random.below(longest + 1), ' ');
    for (char& c : text)
        c = alphabet[random.below(alphabet.size())];
    return text;
}

TEST(PatternSet, WithoutPatternsMatchesNothing) {
    const PatternSet set;
    EXPECT_TRUE(set.empty());
    EXPECT_EQ(set.match("loop"), std::nullopt);
    EXPECT_EQ(set.match(""), std::nullopt);
    EXPECT_EQ(set.covers("loop"), std::nullopt);
    EXPECT_FALSE(set_of({"x"}).empty());
}

TEST(PatternSet, MatchesPlainTextAsAWholeOnly) {
    const PatternSet set = set_of({"net-pf-1"});
    EXPECT_EQ(set.match("net-pf-1"), 0U);
    EXPECT_EQ(set.match("net-pf-15"), std::nullopt);
    EXPECT_EQ(set.match("net-pf-"), std::nullopt);
    EXPECT_EQ(set.match("xnet-pf-1"), std::nullopt);
    EXPECT_EQ(set.match(""), std::nullopt);
}

TEST(PatternSet, TakesDashAndUnderscoreForTheSame) {
    EXPECT_EQ(set_of({"net-pf-*"}).match("net_pf_15"), 0U);
    EXPECT_EQ(set_of({"net_pf_*"}).match("net-pf-15"), 0U);
    EXPECT_EQ(set_of({"net-pf_15"}).match("net_pf-15"), 0U);
    EXPECT_EQ(set_of({"net-pf-1[0-5]"}).match("net-pf-13"), 0U);
    EXPECT_EQ(set_of({"net-pf-1[0-5]"}).match("net-pf-16"), std::nullopt);
}

TEST(PatternSet, MatchesAsModprobeDoes) {
    EXPECT_EQ(set_of({"*"}).match("anything/at all.."), 0U);
    EXPECT_EQ(set_of({"*"}).match(".hidden"), 0U); // no FNM_PERIOD
    EXPECT_EQ(set_of({"a*b"}).match("a/b"), 0U);   // no FNM_PATHNAME
    EXPECT_EQ(set_of({"Foo"}).match("foo"), std::nullopt);
    EXPECT_EQ(set_of({"a\\*"}).match("a*"), 0U);
    EXPECT_EQ(set_of({"a\\*"}).match("ab"), std::nullopt);
    EXPECT_EQ(set_of({"[!a]x"}).match("bx"), 0U);
    EXPECT_EQ(set_of({"[!a]x"}).match("ax"), std::nullopt);
    EXPECT_EQ(set_of({"a["}).match("a["), first_match({"a["}, "a["));
    EXPECT_EQ(set_of({""}).match(""), 0U);
    EXPECT_EQ(set_of({""}).match("x"), std::nullopt);
}

TEST(PatternSet, NamesTheFirstRuleWhicheverIsMoreExact) {
    EXPECT_EQ(set_of({"pci:*", "pci:v0*", "pci:v01"}).match("pci:v01"), 0U);
    EXPECT_EQ(set_of({"pci:v01", "pci:v0*", "pci:*"}).match("pci:v01"), 0U);
    EXPECT_EQ(set_of({"usb:*", "*", "pci:v0*"}).match("pci:v01"), 1U);
    EXPECT_EQ(set_of({"pci:v0?", "pci:v0*", "*"}).match("pci:v011"), 1U);
    EXPECT_EQ(set_of({"loop", "loop"}).match("loop"), 0U);
}

TEST(PatternSet, NamesTheFirstRuleThoughAddedLater) {
    PatternSet set;
    set.add("loop", 7);
    set.add("lo*", 3);
    set.add("l*", 5);
    EXPECT_EQ(set.match("loop"), 3U);
}

TEST(PatternSet, AgreesWithFnmatchOnRandomPatterns) {
    test::Random random(20261121, 2000);
    std::size_t matches = 0;
    while (random.next_round()) {
        std::vector<std::string> patterns;
        for (int i = 0; i < 12; ++i)
            patterns.push_back(random_text(random, "ab-_:*?[]!\\", 6));
        const PatternSet set = set_of(patterns);
        for (int i = 0; i < 12; ++i) {
            const std::string token = random_text(random, "ab-_:*[]\\", 6);
            const auto expected = first_match(patterns, token);
            matches += expected.has_value();
            ASSERT_EQ(set.match(token), expected) << "token " << token;
        }
    }
    if (random.is_cut_short()) return;
    EXPECT_GT(matches, random.scaled(4000U)); // it did compare something
    EXPECT_LT(matches, random.scaled(20000U));
}

TEST(PatternSet, AgreesWithFnmatchOnWellFormedBrackets) {
    test::Random random(15, 1000);
    const std::vector<std::string> parts = {"net",    "-",     "_",    "pf",    "1",    "[0-5]",
                                            "[!0-5]", "[a-c]", "[-_]", "[ab-]", "[]x]", "[[:digit:]]",
                                            "*",      "?",     "\\*",  "\\-"};
    const std::vector<std::string> texts = {"net", "-", "_", "pf", "1", "3", "a", "b", "]", "x", "*", "9"};
    const auto joined = [&random](const std::vector<std::string>& from) {
        std::string text;
        for (std::size_t count = 1 + random.below(4); count > 0; --count)
            text += random.one_of(from);
        return text;
    };
    std::size_t matches = 0;
    while (random.next_round()) {
        std::vector<std::string> patterns;
        for (int i = 0; i < 20; ++i)
            patterns.push_back(joined(parts));
        const PatternSet set = set_of(patterns);
        for (int i = 0; i < 20; ++i) {
            const std::string token = joined(texts);
            const auto expected = first_match(patterns, token);
            matches += expected.has_value();
            ASSERT_EQ(set.match(token), expected) << "token " << token;
        }
    }
    if (random.is_cut_short()) return;
    EXPECT_GT(matches, random.scaled(3000U));
    EXPECT_LT(matches, random.scaled(19000U));
}

TEST(PatternSet, FindsOneAmongTenThousand) {
    PatternSet set;
    for (std::uint32_t i = 0; i < 10000; ++i)
        set.add("pci:v" + std::to_string(i) + "d*", i);
    EXPECT_EQ(set.match("pci:v7777d1"), 7777U);
    EXPECT_EQ(set.match("pci:v10000d1"), std::nullopt);
}

TEST(PatternSetCovers, APatternOfTheSameText) {
    EXPECT_EQ(set_of({"x", "block-major-7-*"}).covers("block-major-7-*"), 1U);
    EXPECT_EQ(set_of({"block_major_7_*"}).covers("block-major-7-*"), 0U);
    EXPECT_EQ(set_of({"pci:v[0-9]"}).covers("pci:v[0-9]"), 0U);
    EXPECT_EQ(set_of({"a\\*b"}).covers("a\\*b"), 0U);
    EXPECT_EQ(set_of({"loop"}).covers("loop"), 0U);
}

TEST(PatternSetCovers, ANarrowerPattern) {
    EXPECT_EQ(set_of({"pci:*"}).covers("pci:v00008086d*sv*"), 0U);
    EXPECT_EQ(set_of({"*"}).covers("net-pf-15"), 0U);
    EXPECT_EQ(set_of({"block-major-*"}).covers("block-major-7-*"), 0U);
}

TEST(PatternSetCovers, NotAWiderOrAnotherPattern) {
    EXPECT_EQ(set_of({"pci:v00008086d*"}).covers("pci:*"), std::nullopt);
    EXPECT_EQ(set_of({"pci:*"}).covers("usb:*"), std::nullopt);
    EXPECT_EQ(set_of({"pci:v1"}).covers("pci:v1*"), std::nullopt);
    EXPECT_EQ(set_of({"net-pf-1[0-5]"}).covers("net-pf-*"), std::nullopt);
}

TEST(PatternSetCovers, AgreesWithAPlainReadingOfRandomPatterns) {
    test::Random random(7, 2000);
    std::size_t covered = 0;
    while (random.next_round()) {
        std::vector<std::string> patterns;
        for (int i = 0; i < 12; ++i)
            patterns.push_back(random_text(random, "ab-_*?[]", 5));
        const PatternSet set = set_of(patterns);
        for (int i = 0; i < 12; ++i) {
            const std::string alias = random_text(random, "ab-_*[]", 5);
            const std::string text = with_underscores(alias, true);
            auto expected = first_match(patterns, text);
            for (std::uint32_t id = 0; id < patterns.size(); ++id)
                if (with_underscores(patterns[id], true) == text && (!expected || id < *expected))
                    expected = id;
            covered += expected.has_value();
            ASSERT_EQ(set.covers(alias), expected) << "alias " << alias;
        }
    }
    if (random.is_cut_short()) return;
    EXPECT_GT(covered, random.scaled(4000U));
    EXPECT_LT(covered, random.scaled(20000U));
}

TEST(PatternSetCovers, NamesTheFirstRule) {
    EXPECT_EQ(set_of({"block-*", "block-major-7-*"}).covers("block-major-7-*"), 0U);
    EXPECT_EQ(set_of({"block-major-7-*", "block-*"}).covers("block-major-7-*"), 0U);
    EXPECT_EQ(set_of({"x", "a[bc]", "a*"}).covers("a[bc]"), 1U);
    EXPECT_EQ(set_of({"x", "a*", "a[bc]"}).covers("a[bc]"), 1U);
}

} // namespace
} // namespace kmodguard::core
