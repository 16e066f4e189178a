// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows what clients of every kind get from the control socket: orderly ones their answers, in order; those
// that send too much, too little or nothing at all no more than is due; and nobody is kept waiting by them.
#include "daemon/server_fixture.hpp"
#include "sys/file.hpp"
#include "sys/unix_socket.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>

namespace kmodguard::daemon {
namespace {

class ServerTest : public ServerFixture {};

const std::string too_long = "ERR invalid: the request is too long\n";

TEST_F(ServerTest, AnswersOneRequestAfterTheOther) {
    serve();
    const auto client = connect_and_send("ECHO a\n");
    EXPECT_EQ(read_lines(client, 2), "argument a\nOK\n");
    send(client, "ECHO b\n");
    EXPECT_EQ(read_lines(client, 2), "argument b\nOK\n");
    EXPECT_EQ(server->clients(), 1U);
}

TEST_F(ServerTest, ClientThatSpeaksLaterIsAnsweredThen) {
    serve();
    const auto client = connect();
    run_until([&] { return server->clients() == 1; });
    send(client, "ECHO late\n");
    EXPECT_EQ(read_lines(client, 2), "argument late\nOK\n");
}

TEST_F(ServerTest, PipelinedRequestsAreAnsweredInOrder) {
    serve();
    std::string requests;
    std::string answers;
    for (int i = 0; i < 500; ++i) {
        requests += "ECHO " + std::to_string(i) + "\n";
        answers += "argument " + std::to_string(i) + "\nOK\n";
    }
    const auto client = connect_and_send(requests);
    EXPECT_EQ(read_lines(client, 1000), answers);
}

TEST_F(ServerTest, RequestInPiecesIsPutTogether) {
    serve();
    const auto client = connect();
    for (const char c : std::string_view("ECHO piece by piece\nECHO ")) {
        send(client, {&c, 1});
        run_until_idle();
    }
    EXPECT_EQ(read_lines(client, 2), "argument piece by piece\nOK\n");
    send(client, "b\n");
    EXPECT_EQ(read_lines(client, 2), "argument b\nOK\n");
}

TEST_F(ServerTest, LastAnswerClosesTheConnectionAndNothingMoreIsRead) {
    int handled = 0;
    serve([&handled](const protocol::Request& request, const sys::Peer&) {
        ++handled;
        return echo(request);
    });
    const auto client = connect_and_send("LAST a\nECHO b\n");
    EXPECT_EQ(read_to_end(client), "argument a\nOK\n");
    EXPECT_EQ(handled, 1);
    EXPECT_EQ(server->clients(), 0U);
}

TEST_F(ServerTest, ClientThatHasSaidAllStillGetsItsAnswers) {
    serve();
    const auto client = connect_and_send("ECHO a\nECHO b\n");
    ASSERT_EQ(::shutdown(client.get(), SHUT_WR), 0);
    EXPECT_EQ(read_to_end(client), "argument a\nOK\nargument b\nOK\n");
}

TEST_F(ServerTest, HalfARequestAndAnEndIsNoRequest) {
    serve([](const protocol::Request&, const sys::Peer&) -> Server::Reply {
        throw std::runtime_error("handled");
    });
    const auto client = connect_and_send("ECHO a");
    ASSERT_EQ(::shutdown(client.get(), SHUT_WR), 0);
    EXPECT_EQ(read_to_end(client), "");
}

TEST_F(ServerTest, LongestRequestIsTakenAndALongerOneRefused) {
    serve();
    const std::string longest = "ECHO " + std::string(protocol::max_request - 5, 'x');
    const auto client = connect_and_send(longest + "\n");
    EXPECT_EQ(read_lines(client, 2).size(), longest.size() + std::string_view("argument OK\n").size() - 4);
    send(client, longest + "x\n");
    EXPECT_TRUE(read_to_end(client).starts_with("ERR invalid: the request is "));
}

TEST_F(ServerTest, MegabyteWithoutANewlineIsAnErrorAndTheEnd) {
    serve();
    const auto client = connect();
    ASSERT_EQ(::fcntl(client.get(), F_SETFL, O_NONBLOCK), 0);
    const std::string megabyte(1U << 20U, 'x');
    std::size_t sent = 0;
    run_until([&] {
        const ssize_t count =
            ::send(client.get(), megabyte.data() + sent, megabyte.size() - sent, MSG_NOSIGNAL);
        sent += count > 0 ? static_cast<std::size_t>(count) : 0;
        return sent == megabyte.size() || (count < 0 && errno != EAGAIN);
    });
    EXPECT_LT(sent, megabyte.size()); // nobody has read all of it
    EXPECT_EQ(read_to_end(client), too_long);
    EXPECT_EQ(server->clients(), 0U);
}

TEST_F(ServerTest, NonsenseIsAnErrorAndTheEnd) {
    serve();
    for (const std::string& text :
         {std::string("lower case\n"), std::string("\n"), std::string("\0ECHO\n", 6), std::string("\xff\n"),
          std::string("Get / HTTP/1.1\r\n"), std::string("\x16\x03\x01\n")}) {
        const auto client = connect_and_send(text + "ECHO not any more\n");
        const std::string answer = read_to_end(client);
        EXPECT_TRUE(answer.starts_with("ERR invalid: ")) << answer;
        EXPECT_EQ(std::ranges::count(answer, '\n'), 1) << answer;
    }
}

TEST_F(ServerTest, SlowReaderGetsItAllAndHoldsUpNobody) {
    const std::string big = "value " + std::string(2U << 20U, 'v') + "\nOK\n";
    serve([&big](const protocol::Request& request, const sys::Peer&) {
        return request.verb == "BIG" ? reply(big) : echo(request);
    });
    const auto slow = connect_and_send("BIG\n");
    run_until([&] { return server->clients() == 1; });
    for (int i = 0; i < 10; ++i) {
        const auto quick = connect_and_send("ECHO quick\n");
        EXPECT_EQ(read_lines(quick, 2), "argument quick\nOK\n");
    }
    EXPECT_TRUE(read_lines(slow, 2) == big);
    send(slow, "ECHO next\n");
    EXPECT_EQ(read_lines(slow, 2), "argument next\nOK\n");
}

TEST_F(ServerTest, FreshClientIsServedBesideHundredsOfIdleOnes) {
    serve();
    std::vector<sys::UniqueFd> idle;
    for (int i = 0; i < 300; ++i)
        idle.push_back(connect_and_send("ECHO half"));
    const auto fresh = connect_and_send("ECHO fresh\n");
    EXPECT_EQ(read_lines(fresh, 2), "argument fresh\nOK\n");
    EXPECT_LE(server->clients(), ServerLimits{}.clients);
    bool ended = false;
    EXPECT_EQ(receive_now(idle.front(), ended), "");
    EXPECT_TRUE(ended); // the longest-waiting one has made room
    send(idle.back(), " a request\n");
    EXPECT_EQ(read_lines(idle.back(), 2), "argument half a request\nOK\n");
}

TEST_F(ServerTest, ClientsThatHangUpAreForgotten) {
    serve();
    {
        const auto silent = connect();
        const auto half = connect_and_send("ECHO");
        run_until([&] { return server->clients() == 2; });
    }
    run_until([&] { return server->clients() == 0; });
}

TEST_F(ServerTest, SilentClientIsDroppedWhenPatienceEnds) {
    serve(echo, {.clients = 256, .timeout = std::chrono::seconds(0)});
    const auto silent = connect();
    const auto half = connect_and_send("ECHO ha");
    EXPECT_EQ(read_to_end(silent), "");
    EXPECT_EQ(read_to_end(half), "");
    EXPECT_EQ(server->clients(), 0U);
    const auto again = connect(); // the timeout is short for the next one, too
    EXPECT_EQ(read_to_end(again), "");
}

TEST_F(ServerTest, ReaderThatNeverReadsIsDroppedWhenPatienceEnds) {
    const std::string big = "value " + std::string(2U << 20U, 'v') + "\nOK\n";
    serve([&big](const protocol::Request&, const sys::Peer&) { return reply(big); },
          {.clients = 256, .timeout = std::chrono::seconds(0)});
    const auto client = connect_and_send("BIG\n");
    run_until([&] { return server->clients() == 1; });
    run_until([&] { return server->clients() == 0; });
    EXPECT_LT(read_to_end(client).size(), big.size());
}

TEST_F(ServerTest, PatientServerKeepsSilentClients) {
    serve(echo, {.clients = 256, .timeout = std::chrono::minutes(5)});
    const auto silent = connect();
    run_until([&] { return server->clients() == 1; });
    run_until_idle();
    run_once(); // a sweep: there is nothing else that could happen
    EXPECT_EQ(server->clients(), 1U);
}

TEST_F(ServerTest, WhatComesAfterwardsComesAfterTheAnswer) {
    std::vector<std::string> order;
    serve([&order](const protocol::Request&, const sys::Peer&) -> Server::Reply {
        order.emplace_back("handled");
        return {.text = "OK\n", .last = true, .afterwards = [&order] { order.emplace_back("afterwards"); }};
    });
    const auto client = connect_and_send("ECHO\n");
    EXPECT_EQ(read_to_end(client), "OK\n");
    EXPECT_EQ(order, (std::vector<std::string>{"handled", "afterwards"}));
}

/// The hook can be killed while it waits; the attempt was then missing in the log.
TEST_F(ServerTest, WhatComesAfterwardsComesOnceEvenIfTheClientIsGone) {
    int recorded = 0;
    const std::string big(2U << 20U, 'v');
    serve([&](const protocol::Request& request, const sys::Peer&) -> Server::Reply {
        return {.text = request.verb == "BIG" ? big : "OK\n", .last = true, .afterwards = [&recorded] {
                    ++recorded;
                }};
    });
    connect_and_send("AUTOLOAD x\n").reset();
    run_until([&] { return recorded == 1; });
    {
        const auto client = connect_and_send("BIG\n");
        run_until([&] { return server->clients() == 1; });
        EXPECT_EQ(recorded, 1);
    }
    run_until([&] { return recorded == 2; });
    EXPECT_EQ(server->clients(), 0U);
    const auto waiting = connect_and_send("BIG\n");
    run_until([&] { return server->clients() == 1; });
    server.reset();
    EXPECT_EQ(recorded, 3);
}

/// What the daemon puts off until then, for all of them at once.
class RoundTest : public ServerFixture {
  protected:
    std::vector<std::string> order;
    std::string answer = "OK\n";

    void serve_in_rounds(ServerLimits limits = {}) {
        const auto handle = [this](const protocol::Request&, const sys::Peer&) -> Server::Reply {
            return {.text = answer, .last = true, .afterwards = [this] { order.emplace_back("answered"); }};
        };
        serve(handle, limits, 0600, nullptr, [this] { order.emplace_back("done"); });
    }
};

TEST_F(RoundTest, IsDoneOnceForAllThatCameTogether) {
    serve_in_rounds();
    std::vector<sys::UniqueFd> clients;
    for (int i = 0; i < 3; ++i)
        clients.push_back(connect_and_send("AUTOLOAD x\n"));
    run_until([this] { return !order.empty(); });
    EXPECT_EQ(order, (std::vector<std::string>{"answered", "answered", "answered", "done"}));
}

TEST_F(RoundTest, IsDoneForWhoAsksLater) {
    serve_in_rounds();
    const auto client = connect();
    run_until([this] { return server->clients() == 1; });
    order.clear();
    send(client, "AUTOLOAD x\n");
    run_until([this] { return !order.empty(); });
    EXPECT_EQ(order, (std::vector<std::string>{"answered", "done"}));
}

TEST_F(RoundTest, IsDoneForWhoIsDroppedBeforeItHasTakenItsAnswer) {
    answer.assign(2U << 20U, 'v');
    serve_in_rounds({.timeout = std::chrono::seconds(0)});
    const auto client = connect_and_send("AUTOLOAD x\n");
    run_until([this] { return server->clients() == 1; });
    order.clear();
    run_until([this] { return server->clients() == 0; });
    EXPECT_EQ(order, (std::vector<std::string>{"answered", "done"}));
}

TEST_F(ServerTest, EndsWithClientsConnected) {
    serve();
    const auto client = connect_and_send("ECHO ha");
    run_until([&] { return server->clients() == 1; });
    server.reset();
    bool ended = false;
    EXPECT_EQ(receive_now(client, ended), "");
    EXPECT_TRUE(ended);
}

TEST_F(ServerTest, WhoIsNotTheDaemonsUserIsUnauthorized) {
    if (::geteuid() != 0) GTEST_SKIP() << "only root can become somebody else";
    constexpr uid_t nobody = 65534;
    std::vector<sys::Peer> turned_away;
    serve([](const protocol::Request&,
             const sys::Peer&) -> Server::Reply { throw std::runtime_error("handled"); },
          {}, 0666, [&](const sys::Peer& peer) { turned_away.push_back(peer); });
    std::filesystem::permissions(directory.path(), std::filesystem::perms(0755));
    std::filesystem::permissions(socket, std::filesystem::perms(0666));
    int ends[2] = {};
    ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    const sys::UniqueFd said(ends[0]);
    sys::UniqueFd saying(ends[1]);
    const pid_t child = ::fork();
    if (child == 0) {
        if (::setuid(nobody) != 0) ::_exit(1);
        const auto client = sys::connect_unix(socket, std::chrono::seconds(60));
        if (!client) ::_exit(2);
        static_cast<void>(sys::send_all(*client, "AUTOLOAD x\n")); // it may be told before
        char c = '\0';
        while (::recv(client->get(), &c, 1, 0) == 1)
            if (::write(saying.get(), &c, 1) != 1) ::_exit(3);
        ::_exit(0);
    }
    saying.reset();
    const EventSource waking = wake_by(said);
    std::string text;
    bool ended = false;
    run_until([&] {
        pollfd ready{.fd = said.get(), .events = POLLIN, .revents = 0};
        char c = '\0';
        while (!ended && ::poll(&ready, 1, 0) > 0) {
            ended = ::read(said.get(), &c, 1) != 1;
            if (!ended) text += c;
        }
        return ended;
    });
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
    EXPECT_EQ(text, "ERR unauthorized: only root may ask\n");
    EXPECT_EQ(server->clients(), 0U);
    ASSERT_EQ(turned_away.size(), 1U);
    EXPECT_EQ(turned_away[0].uid, nobody);
    EXPECT_EQ(turned_away[0].pid, child);
}

TEST_F(ServerTest, FilesComeWithTheAnswerThatTheyBelongToAndWithNoOther) {
    serve([this](const protocol::Request& request, const sys::Peer&) -> Server::Reply {
        Server::Reply answer = reply(request.argument + "\n");
        if (request.argument == "2")
            for (const char* name : {"one", "two"})
                answer.files.push_back(std::make_shared<const sys::UniqueFd>(sys::sealed_file(name, name)));
        return answer;
    });
    const sys::UniqueFd client = connect();
    std::array<char, 100> buffer{};
    for (const std::size_t files : {0U, 2U, 0U}) {
        send(client, "ECHO " + std::to_string(files) + "\n");
        run_until_idle();
        const auto received = sys::receive(client, buffer);
        ASSERT_TRUE(received && *received);
        EXPECT_EQ(std::string_view(buffer.data(), (*received)->bytes), std::to_string(files) + "\n");
        ASSERT_EQ((*received)->descriptors.size(), files);
        if (files == 0) continue;
        EXPECT_EQ(::pread((*received)->descriptors.back().get(), buffer.data(), buffer.size(), 0), 3);
        EXPECT_EQ(std::string_view(buffer.data(), 3), "two");
    }
}

} // namespace
} // namespace kmodguard::daemon
