// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows that JSON text is read as it is written, and that whatever two readers could read differently, or
// could exhaust one, is refused.
#include "events/json.hpp"

#include <gtest/gtest.h>

#include <string>

namespace kmodguard::events {
namespace {

using namespace std::string_literals;

std::string error_of(std::string_view text, const JsonLimits& limits = {}) {
    const auto parsed = Json::parse(text, limits);
    if (parsed) return "none";
    EXPECT_EQ(parsed.error().kind, sys::ErrorKind::invalid);
    return parsed.error().what;
}

TEST(JsonParse, GivesBackWhatWasWritten) {
    const std::string text =
        R"({"null":null,"yes":true,"no":false,"big":9223372036854775807,"small":-9223372036854775808,)"
        R"("text":"a \"b\" \u00e4\n","list":[1,[],{}],"object":{"z":1,"a":{"z":2}}})";
    const auto parsed = Json::parse(text);
    ASSERT_TRUE(parsed) << parsed.error().what;
    EXPECT_EQ(parsed->line(), Json::parse(parsed->line())->line());
    EXPECT_EQ(parsed->object()->front().first, "null") << "members keep their order";
    EXPECT_EQ(*parsed->find("text")->text(), "a \"b\" \u00e4\n");
    EXPECT_EQ(*parsed->find("big")->number(), INT64_MAX);
    EXPECT_EQ(*parsed->find("small")->number(), INT64_MIN);
    EXPECT_EQ(parsed->find("list")->list()->size(), 3U);
    EXPECT_EQ(*parsed->find("object")->find("a")->find("z")->number(), 2);
}

TEST(JsonParse, TakesAnyValueAndWhiteSpaceAroundIt) {
    for (const char* text : {" \r\n\t7 \n", "null", "\"x\"", "[]", "{}\n"})
        EXPECT_TRUE(Json::parse(text)) << text;
}

TEST(JsonParse, WhatIsNotThereOrOfAnotherKindIsNotFound) {
    const auto parsed = Json::parse(R"({"a":1})");
    ASSERT_TRUE(parsed);
    EXPECT_EQ(parsed->find("b"), nullptr);
    EXPECT_EQ(parsed->find("a")->find("a"), nullptr);
    EXPECT_EQ(parsed->find("a")->text(), nullptr);
    EXPECT_EQ(parsed->find("a")->list(), nullptr);
    EXPECT_EQ(parsed->find("a")->object(), nullptr);
    EXPECT_EQ(parsed->number(), nullptr);
}

TEST(JsonParse, WhatIsNoJsonIsRefusedWithItsPlace) {
    for (const std::string& text :
         {""s, " "s, "{"s, "}"s, "[1,]"s, "{\"a\":1,}"s, "{'a':1}"s, "{a:1}"s, "01"s, "+1"s, "nul"s, "NaN"s,
          "{} {}"s, "{}x"s, "// comment\n{}"s, "\"\x01\""s, "\"\xff\""s, "\"\\ud800\""s, "\"open"s})
        EXPECT_NE(error_of(text).find("not JSON from byte"), std::string::npos) << text;
    EXPECT_EQ(error_of("[1 2]"), "the JSON text cannot be used: it is not JSON from byte 4 on");
}

TEST(JsonParse, ErrorsHoldNothingOfTheText) {
    EXPECT_EQ(error_of("\"secret \x1b[31m").find("secret"), std::string::npos);
}

TEST(JsonParse, NulEndsNothing) {
    EXPECT_NE(error_of("{}\0{\"a\":1}"s).find("NUL"), std::string::npos);
    EXPECT_NE(error_of("\0"s).find("NUL"), std::string::npos);
    EXPECT_EQ(Json::parse(R"("\u0000")")->text()->size(), 1U) << "escaped, it is a character like others";
}

TEST(JsonParse, TwoMembersOfOneNameAreRefusedAtAnyDepthAndHoweverSpelt) {
    for (const char* text : {R"({"a":1,"a":1})", R"([{"b":{"a":1,"c":2,"a":3}}])", R"({"a":1,"\u0061":2})"})
        EXPECT_NE(error_of(text).find("one name"), std::string::npos) << text;
    EXPECT_TRUE(Json::parse(R"({"a":{"a":1},"b":{"a":1}})"));
}

TEST(JsonParse, NumbersThatDoNotFitAreRefusedAndNotRounded) {
    for (const char* text : {"9223372036854775808", "18446744073709551615", "99999999999999999999", "1.0",
                             "1e3", "-9223372036854775809", "[1,2.5]"})
        EXPECT_NE(error_of(text).find("number"), std::string::npos) << text;
}

TEST(JsonParse, DepthIsBounded) {
    const auto nested = [](std::size_t depth, char open, char close) {
        return std::string(depth, open) + std::string(depth, close);
    };
    EXPECT_TRUE(Json::parse(nested(4, '[', ']'), {.depth = 4}));
    EXPECT_NE(error_of(nested(5, '[', ']'), {.depth = 4}).find("nested"), std::string::npos);
    EXPECT_TRUE(Json::parse(R"({"a":{"a":[]}})", {.depth = 3}));
    EXPECT_NE(error_of(R"({"a":{"a":[]}})", {.depth = 2}).find("nested"), std::string::npos);
    EXPECT_NE(error_of(std::string(60'000, '['), {}).find("nested"), std::string::npos);
    EXPECT_TRUE(Json::parse("1", {.depth = 0}));
}

TEST(JsonParse, SizeIsBounded) {
    EXPECT_TRUE(Json::parse("[1,2]", {.bytes = 5}));
    EXPECT_NE(error_of("[1,2]", {.bytes = 4}).find("bytes"), std::string::npos);
}

} // namespace
} // namespace kmodguard::events
