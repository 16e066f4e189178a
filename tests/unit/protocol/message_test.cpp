// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows what is a request and what is not, that an answer is read as it was written, whatever is in its
// values, and that no beginning of an answer is taken for a whole one.
#include "protocol/message.hpp"

#include <gtest/gtest.h>

#include <string>

namespace kmodguard::protocol {
namespace {

using sys::ErrorKind;

std::string refusal(std::string_view line) {
    const auto request = parse_request(line);
    if (request) return "accepted as " + request->verb;
    EXPECT_EQ(request.error().kind, ErrorKind::invalid);
    return request.error().what;
}

TEST(Request, IsAVerbAndTheRestOfTheLine) {
    const auto request = parse_request("CHECK net-pf-15");
    ASSERT_TRUE(request);
    EXPECT_EQ(request->verb, "CHECK");
    EXPECT_EQ(request->argument, "net-pf-15");
    EXPECT_EQ(parse_request("STATUS")->verb, "STATUS");
    EXPECT_EQ(parse_request("STATUS")->argument, "");
}

TEST(Request, IsSplitAtTheFirstBlankOnly) {
    EXPECT_EQ(parse_request("CHECK two words")->argument, "two words");
    EXPECT_EQ(parse_request("CHECK  led by a blank ")->argument, " led by a blank ");
    EXPECT_EQ(parse_request("CHECK ")->argument, "");
}

TEST(Request, MayBe4096BytesAndNotOneMore) {
    const std::string longest = "CHECK " + std::string(max_request - 6, 'a');
    ASSERT_EQ(longest.size(), 4096U);
    EXPECT_EQ(parse_request(longest)->argument.size(), 4090U);
    EXPECT_EQ(refusal(longest + "a"), "the request is longer than 4096 bytes");
}

TEST(Request, WithoutAVerbInCapitalsIsRefused) {
    for (const char* line :
         {"", " ", " CHECK a", "check a", "Check a", "CHECK2 a", "CH-ECK a", "CHECK_IT", "\xC3\x84H a"})
        EXPECT_EQ(refusal(line), "a request begins with a verb in capital letters") << line;
}

TEST(Request, WithANewlineIsRefused) {
    for (const char* line : {"CHECK a\nALLOW b", "CHECK a\n", "\n", "STATUS\n\n"})
        EXPECT_EQ(refusal(line), "a request is one line") << testing::PrintToString(line);
}

TEST(Request, AnyOtherBytesOfTheArgumentAreTheVerbsToJudge) {
    using namespace std::literals;
    for (const std::string_view argument : {"a\0b"sv, "\0"sv, "\r"sv, "\x1b[2J"sv, "\x7f"sv, "\xff"sv,
                                            "\xc3"sv, "\xed\xa0\x80"sv, "gr\xC3\xBC\xC3\x9F"sv}) {
        const auto request = parse_request("CHECK " + std::string(argument));
        ASSERT_TRUE(request) << testing::PrintToString(argument);
        EXPECT_EQ(request->argument, argument);
    }
    for (const std::string_view line : {"CHE\0CK a"sv, "CHECK\ta"sv, "CH\xff a"sv, "\0"sv, "\x1b[2J"sv})
        EXPECT_EQ(refusal(line), "a request begins with a verb in capital letters");
}

TEST(Request, IsReadAsItWasWritten) {
    for (const Request& request :
         {Request{"STATUS", ""}, Request{"CHECK", "a"}, Request{"MODE", "audit 1800"}}) {
        const std::string line = encode(request);
        ASSERT_TRUE(line.ends_with('\n'));
        const auto again = parse_request(std::string_view(line).substr(0, line.size() - 1));
        ASSERT_TRUE(again) << line;
        EXPECT_EQ(again->verb, request.verb);
        EXPECT_EQ(again->argument, request.argument);
    }
}

const Answer full{.fields = {{"policy", "/etc/kmodguard/policy.toml"},
                             {"policy", "/etc/kmodguard/policy.d/a b.toml"},
                             {"empty", ""},
                             {"OKAY", "no outcome"},
                             {"key", "OK not an outcome either"}},
                  .outcome = Outcome::deny,
                  .text = "refused: a is not on the allow list"};

TEST(Answer, IsReadAsItWasWritten) {
    for (const Outcome outcome : {Outcome::ok, Outcome::deny, Outcome::error})
        for (const char* text : {"", "some words", " led by a blank"}) {
            Answer answer = full;
            answer.outcome = outcome;
            answer.text = text;
            const auto again = parse_answer(encode(answer));
            ASSERT_TRUE(again) << encode(answer);
            EXPECT_EQ(*again, answer) << encode(answer);
        }
    EXPECT_EQ(parse_answer("OK\n").value(), (Answer{.fields = {}, .outcome = Outcome::ok, .text = ""}));
}

TEST(Answer, GivesTheFirstValueOfAKey) {
    EXPECT_EQ(full.value("policy"), "/etc/kmodguard/policy.toml");
    EXPECT_EQ(full.value("empty"), "");
    EXPECT_EQ(full.value("missing"), "");
}

TEST(Answer, ValueWithANewlineCannotForgeALine) {
    const Answer hostile{
        .fields = {{"token", "a\nOK\nverdict allow\r\n"}, {"detail", std::string("\0\x1b", 2)}},
        .outcome = Outcome::deny,
        .text = "no\nOK yes"};
    EXPECT_EQ(encode(hostile), "token a\\x0aOK\\x0averdict allow\\x0d\\x0a\n"
                               "detail \\x00\\x1b\n"
                               "DENY no\\x0aOK yes\n");
    const auto read = parse_answer(encode(hostile));
    ASSERT_TRUE(read);
    EXPECT_EQ(read->outcome, Outcome::deny);
    EXPECT_EQ(read->fields.size(), 2U);
    EXPECT_EQ(read->value("verdict"), "");
}

TEST(Answer, IsCompleteAtItsLastByteAndNotBefore) {
    for (const Outcome outcome : {Outcome::ok, Outcome::deny, Outcome::error}) {
        Answer answer = full;
        answer.outcome = outcome;
        const std::string text = encode(answer);
        for (std::size_t length = 0; length < text.size(); ++length) {
            const std::string_view part(text.data(), length);
            EXPECT_FALSE(is_complete(part)) << part;
            EXPECT_FALSE(parse_answer(part)) << part;
        }
        EXPECT_TRUE(is_complete(text));
    }
}

TEST(Answer, MalformedIsAnError) {
    for (const char* text : {"", "\n", "\n\n", "OK", "key value\n", "ok\n", "OKAY\n", "OK\nkey value\n",
                             "OK\nOK\n", "DENY\nOK\n", "OK\nx"}) {
        const auto answer = parse_answer(text);
        ASSERT_FALSE(answer) << text;
        EXPECT_EQ(answer.error().kind, ErrorKind::failed);
        EXPECT_NE(answer.error().what, "");
    }
}

TEST(ErrorAnswer, KeepsKindTextAndHint) {
    const std::pair<ErrorKind, std::string> kinds[] = {
        {ErrorKind::failed, "failed"},       {ErrorKind::not_found, "not-found"},
        {ErrorKind::denied, "unauthorized"}, {ErrorKind::unreachable, "unreachable"},
        {ErrorKind::invalid, "invalid"},     {ErrorKind::bad_policy, "bad-policy"}};
    for (const auto& [kind, word] : kinds) {
        const sys::Error error{kind, "cannot do it: because: of that", "do this: instead"};
        const std::string text = encode(error_answer(error));
        EXPECT_EQ(text, "hint do this: instead\nERR " + word + ": cannot do it: because: of that\n");
        const sys::Error again = error_of(parse_answer(text).value());
        EXPECT_EQ(again.kind, error.kind);
        EXPECT_EQ(again.what, error.what);
        EXPECT_EQ(again.hint, error.hint);
    }
}

TEST(ErrorAnswer, OfAnotherVersionIsAFailureInItsOwnWords) {
    for (const char* text : {"strange-kind: it broke", "it broke", ""}) {
        const sys::Error error = error_of({.fields = {}, .outcome = Outcome::error, .text = text});
        EXPECT_EQ(error.kind, ErrorKind::failed);
        EXPECT_EQ(error.what, text);
        EXPECT_EQ(error.hint, "");
    }
}

} // namespace
} // namespace kmodguard::protocol
