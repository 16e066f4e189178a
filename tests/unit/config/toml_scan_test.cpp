// SPDX-License-Identifier: AGPL-3.0-only
#include "config/toml_scan.hpp"

#include <gtest/gtest.h>

namespace kmodguard::config {
namespace {

using namespace std::string_view_literals;

TEST(TomlScan, FindsTheByteOfALineAndColumn) {
    const auto text = "ab\n\xC3\xA4x\n"sv;
    EXPECT_EQ(offset_of(text, {1, 1}), 0U);
    EXPECT_EQ(offset_of(text, {2, 2}), 5U) << "a column is a code point, not a byte";
    EXPECT_EQ(offset_of(text, {1, 9}), nowhere);
    EXPECT_EQ(offset_of(text, {9, 1}), nowhere);
    EXPECT_EQ(offset_of(text, {0, 0}), nowhere);
    EXPECT_EQ(offset_of("\xEF\xBB\xBFx"sv, {1, 1}), 3U) << "a byte order mark takes no column";
}

TEST(TomlScan, FindsTheEndOfEveryKindOfString) {
    const auto end = [](std::string_view text) { return skip_string(text, 0); };
    EXPECT_EQ(end(R"("a\"b" c)"), 6U);
    EXPECT_EQ(end(R"('a\' b')"), 4U) << "no escapes in single quotes";
    EXPECT_EQ(end(R"("" x)"), 2U);
    EXPECT_EQ(end("\"\"\"a\nb\"\"\" c"), 9U);
    EXPECT_EQ(end(R"("""a"""" , )"), 8U) << "a quote right before the closing ones is content";
    EXPECT_EQ(end(R"("""a\"""b""" c)"), 12U);
    EXPECT_EQ(end("'''a''b''' c"), 10U);
    EXPECT_EQ(end("\"open\nx = 1"), 5U) << "an unterminated string ends with its line";
    EXPECT_EQ(end("\"\"\"open\nx"), 9U);
    EXPECT_EQ(end("\"a\\"), 3U);
    EXPECT_EQ(end("\"\"\"a\\"), 5U);
}

TEST(TomlScan, SeparatesTheElementsOfAnArray) {
    const auto text = "[ 'a,]' , \"b\" # ], \"\n, [1, 2], ]"sv;
    const auto layout = scan_array(text, 0);
    ASSERT_TRUE(layout);
    ASSERT_EQ(layout->elements.size(), 3U);
    EXPECT_EQ(layout->elements[0].span.in(text), "'a,]'");
    EXPECT_EQ(layout->elements[1].span.in(text), "\"b\"");
    EXPECT_EQ(layout->elements[2].span.in(text), "[1, 2]");
    EXPECT_EQ(layout->span, (Span{0, text.size()}));
    EXPECT_TRUE(layout->multi_line);
    EXPECT_NE(layout->elements[2].comma, nowhere);
}

TEST(TomlScan, ALineBreakInsideAStringDoesNotMakeAnArrayMultiLine) {
    const auto layout = scan_array("[\"\"\"a\nb\"\"\"]", 0);
    ASSERT_TRUE(layout);
    EXPECT_FALSE(layout->multi_line);
}

TEST(TomlScan, RefusesWhatIsNoArray) {
    for (const auto text :
         {""sv, "x"sv, "["sv, "[,]"sv, "['a',,]"sv, "['a' 'b']"sv, "['a'"sv, "[# c]"sv, "[}]"sv})
        EXPECT_FALSE(scan_array(text, 0)) << text;
    EXPECT_FALSE(scan_array("[]", nowhere));
}

TEST(TomlScan, CountsOnlyWhatIsOutsideStringsAndComments) {
    const Census census = take_census("a.b = [',.[', {}] # ,.=[\n\"x.y\" = 1.5");
    EXPECT_EQ(census.commas, 1U);
    EXPECT_EQ(census.dots, 2U);
    EXPECT_EQ(census.brackets, 2U);
    EXPECT_EQ(census.equals, 2U);
}

TEST(TomlScan, TellsTheLineBreakOfAFile) {
    EXPECT_EQ(newline_of("a\r\nb"), "\r\n");
    EXPECT_EQ(newline_of("a\nb\r\n"), "\n");
    EXPECT_EQ(newline_of(""), "\n");
    EXPECT_EQ(newline_of("\n"), "\n");
}

} // namespace
} // namespace kmodguard::config
