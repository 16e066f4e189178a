// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows what a user of kmodctl meets when the daemon is there, is not, is silent, or breaks off, and that
// nothing but a whole answer counts as one.
#include "fake_daemon.hpp"
#include "protocol/message.hpp"
#include "temporary_directory.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <utility>

namespace kmodguard::protocol {
namespace {

using namespace std::chrono_literals;
using sys::ErrorKind;
using test::FakeDaemon;
using Connection = FakeDaemon::Connection;

class ClientTest : public ::testing::Test {
  protected:
    sys::Result<Answer> ask_it(const Request& request = {"STATUS", ""},
                               std::chrono::milliseconds timeout = 60s) const {
        return ask(socket, request, timeout);
    }
    test::TemporaryDirectory directory;
    const std::filesystem::path socket = directory / "daemon.sock";
};

TEST_F(ClientTest, AsksOneLineAndGetsTheAnswer) {
    const FakeDaemon daemon(socket, "key value\nDENY no\n");
    const auto answer = ask_it({"CHECK", "net-pf-15"});
    ASSERT_TRUE(answer) << answer.error().what;
    EXPECT_EQ(*answer, (Answer{.fields = {{"key", "value"}}, .outcome = Outcome::deny, .text = "no"}));
    EXPECT_EQ(daemon.requests(), std::vector<std::string>{"CHECK net-pf-15"});
}

TEST_F(ClientTest, AnswerInPiecesIsPutTogether) {
    const FakeDaemon daemon(socket, [](Connection& connection, const std::string&) {
        for (const char c : std::string_view("one 1\ntwo 2\nOK done\n"))
            connection.send({&c, 1});
    });
    const auto answer = ask_it();
    ASSERT_TRUE(answer) << answer.error().what;
    EXPECT_EQ(answer->fields.size(), 2U);
    EXPECT_EQ(answer->text, "done");
}

TEST_F(ClientTest, NobodyThereIsUnreachableAndSaysHowToStart) {
    const auto nothing = ask_it();
    ASSERT_FALSE(nothing);
    EXPECT_EQ(nothing.error().kind, ErrorKind::unreachable);
    EXPECT_EQ(nothing.error().hint, "start it with kmodctl start");
    {
        const FakeDaemon gone(socket, "OK\n");
    } // leaves its socket file behind, as a crash does
    ASSERT_TRUE(std::filesystem::exists(socket));
    const auto refused = ask_it();
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().kind, ErrorKind::unreachable);
}

/// Two clients meet the same silence. The one with little time gives up, while the other still waits, and
/// then gets its answer.
TEST_F(ClientTest, SilentDaemonIsUnreachableAfterTheTimeout) {
    std::promise<void> asked;
    std::promise<void> enough;
    const FakeDaemon daemon(socket, [&](Connection& connection, const std::string& request) {
        if (request != "CHECK patient") return connection.wait_for_hangup();
        asked.set_value();
        enough.get_future().wait();
        connection.send("OK\n");
    });
    auto patient = std::async(std::launch::async, [&] { return ask_it({"CHECK", "patient"}); });
    ASSERT_EQ(asked.get_future().wait_for(60s), std::future_status::ready);
    const auto answer = ask_it({"STATUS", ""}, 50ms);
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().kind, ErrorKind::unreachable);
    EXPECT_EQ(answer.error().what, "the daemon does not answer in time");
    EXPECT_EQ(patient.wait_for(0s), std::future_status::timeout) << "its time is not up";
    enough.set_value();
    EXPECT_TRUE(patient.get());
}

/// "does not answer in time", for changes that were made.
TEST_F(ClientTest, AChangeIsWaitedForAsLongAsItTakes) {
    std::promise<void> waited;
    const FakeDaemon daemon(socket, [&](Connection& connection, const std::string&) {
        waited.get_future().wait(); // past its time
        connection.send("OK generation 2\n");
    });
    int told = 0;
    const auto answer = ask(socket, {"RELOAD", ""}, 10ms, [&] {
        ++told;
        waited.set_value();
    });
    ASSERT_TRUE(answer) << answer.error().what;
    EXPECT_EQ(answer->text, "generation 2");
    EXPECT_EQ(told, 1);
}

TEST_F(ClientTest, AChangeWhoseAnswerIsLostIsNotCalledAFailure) {
    const FakeDaemon daemon(socket, std::string("key val"));
    const auto answer = ask(socket, {"RELOAD", ""}, 60s, [] {});
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().kind, ErrorKind::unreachable);
    EXPECT_NE(answer.error().what.find("whether the change was made is not known"), std::string::npos)
        << answer.error().what;
}

TEST_F(ClientTest, HalfAnAnswerAndThenSilenceIsNoAnswer) {
    const FakeDaemon daemon(socket, [](Connection& connection, const std::string&) {
        connection.send("key value\nOK"); // no newline
        connection.wait_for_hangup();
    });
    const auto answer = ask_it({"STATUS", ""}, 50ms);
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().kind, ErrorKind::unreachable);
}

TEST_F(ClientTest, CloseInTheMiddleIsNoAnswer) {
    for (const char* part : {"", "key val", "key value\n", "key value\nOK"}) {
        const FakeDaemon daemon(socket, std::string(part));
        const auto answer = ask_it();
        ASSERT_FALSE(answer) << part;
        EXPECT_EQ(answer.error().kind, ErrorKind::unreachable) << answer.error().what;
    }
}

/// A daemon that ends with the request unread resets the connection; that was shown as a failure of kmodctl.
TEST_F(ClientTest, DaemonThatDiesBeforeItReadsIsUnreachable) {
    const FakeDaemon daemon(socket, [](Connection& connection) { connection.wait_for_input(); });
    const auto answer = ask_it();
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().kind, ErrorKind::unreachable) << answer.error().what;
}

/// The daemon tells somebody who is not root so without reading what he asks; sending then fails.
TEST_F(ClientTest, AnswerGivenBeforeTheRequestWasSentIsRead) {
    const FakeDaemon daemon(
        socket, [](Connection& connection) { connection.send("ERR unauthorized: only root may ask\n"); });
    for (int i = 0; i < 300; ++i) {
        const auto answer = ask_it({"CHECK", std::string(4000, 'x')});
        ASSERT_FALSE(answer);
        ASSERT_EQ(answer.error().kind, ErrorKind::denied) << "try " << i << ": " << answer.error().what;
        ASSERT_EQ(answer.error().what, "only root may ask");
    }
}

TEST_F(ClientTest, ErrorAnswersBecomeErrorsOfTheirKind) {
    const std::pair<std::string, ErrorKind> answers[] = {
        {"ERR not-found: x is on no list\n", ErrorKind::not_found},
        {"ERR unauthorized: x is on no list\n", ErrorKind::denied},
        {"ERR invalid: x is on no list\n", ErrorKind::invalid},
        {"ERR bad-policy: x is on no list\n", ErrorKind::bad_policy},
        {"ERR x is on no list\n", ErrorKind::failed}};
    for (const auto& [text, kind] : answers) {
        const FakeDaemon daemon(socket, "hint look there\n" + text);
        const auto answer = ask_it();
        ASSERT_FALSE(answer) << text;
        EXPECT_EQ(answer.error().kind, kind);
        EXPECT_EQ(answer.error().what, "x is on no list");
        EXPECT_EQ(answer.error().hint, "look there");
    }
}

TEST_F(ClientTest, EndlessAnswerIsGivenUp) {
    const FakeDaemon daemon(socket, [](Connection& connection, const std::string&) {
        const std::string line = "key " + std::string(1U << 20U, 'v') + "\n";
        for (int i = 0; i < 20; ++i)
            connection.send(line);
        connection.send("OK\n");
    });
    const auto answer = ask_it();
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().kind, ErrorKind::invalid);
    EXPECT_EQ(answer.error().what, "the daemon's answer is too long");
}

/// `kmodctl allow` of a name with a newline in it sent two requests.
TEST_F(ClientTest, ArgumentCannotSmuggleInASecondRequest) {
    const FakeDaemon daemon(socket, "OK\n");
    for (const std::string& argument :
         {std::string("a\nDENY b"), std::string("a\n"), std::string("\n"), std::string(5000, 'a')}) {
        const auto answer = ask_it({"ALLOW", argument});
        ASSERT_FALSE(answer) << testing::PrintToString(argument);
        EXPECT_EQ(answer.error().kind, ErrorKind::invalid);
    }
    EXPECT_TRUE(daemon.requests().empty());
}

} // namespace
} // namespace kmodguard::protocol
