// SPDX-License-Identifier: AGPL-3.0-only
//
// A server and its clients in one thread: the test takes the event loop step by step until what it waits for
// has happened, so that nothing depends on who is faster.
#pragma once

#include "daemon/server.hpp"
#include "sys/unix_socket.hpp"
#include "temporary_directory.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <stdexcept>
#include <string>
#include <string_view>

namespace kmodguard::daemon {

class ServerFixture : public ::testing::Test {
  protected:
    static Server::Reply reply(std::string text, bool last = false) {
        return {.text = std::move(text), .last = last, .afterwards = nullptr};
    }
    /// "ECHO a" is answered by "argument a" and OK; with LAST the connection ends then.
    static Server::Reply echo(const protocol::Request& request) {
        return reply("argument " + request.argument + "\nOK\n", request.verb == "LAST");
    }

    void serve(Server::Handler handler = echo, ServerLimits limits = {}, mode_t mode = 0600) {
        sd_event* loop = nullptr;
        ASSERT_GE(sd_event_new(&loop), 0);
        loop_.reset(loop);
        auto listening = sys::listen_unix(socket, mode, 512);
        ASSERT_TRUE(listening) << listening.error().what;
        auto created = Server::create(loop, std::move(*listening), std::move(handler), limits);
        ASSERT_TRUE(created);
        server = std::move(*created);
    }

    /// Runs the loop until `condition` holds, which is asked after whatever happens there.
    template <typename Condition>
    void run_until(Condition condition) {
        while (!condition())
            run_once();
    }
    /// Runs the loop until one more thing has happened. A minute without that is a failure.
    void run_once() {
        constexpr std::uint64_t a_minute = 60'000'000;
        if (sd_event_run(loop_.get(), a_minute) <= 0) throw std::runtime_error("nothing happens");
    }
    /// From now on something happens when there is something to read from `fd`.
    EventSource wake_by(const sys::UniqueFd& fd) {
        sd_event_source* source = nullptr;
        const auto nothing = [](sd_event_source*, int, std::uint32_t, void*) { return 0; };
        if (sd_event_add_io(loop_.get(), &source, fd.get(), EPOLLIN, nothing, nullptr) < 0)
            throw std::runtime_error("cannot watch");
        return EventSource(source);
    }
    /// Runs the loop until it has nothing to do.
    void run_until_idle() {
        while (sd_event_run(loop_.get(), 0) > 0) {
        }
    }

    sys::UniqueFd connect() const {
        auto connected = sys::connect_unix(socket, std::chrono::seconds(60));
        if (!connected) throw std::runtime_error(connected.error().what);
        return std::move(*connected);
    }
    sys::UniqueFd connect_and_send(std::string_view text) const {
        sys::UniqueFd client = connect();
        send(client, text);
        return client;
    }
    static void send(const sys::UniqueFd& client, std::string_view text) {
        EXPECT_TRUE(sys::send_all(client, text));
    }

    /// What is there to be read now; sets `ended` at the end of the stream.
    static std::string receive_now(const sys::UniqueFd& client, bool& ended) {
        std::string text;
        std::array<char, 1U << 16U> part{};
        ssize_t count = 0;
        while ((count = ::recv(client.get(), part.data(), part.size(), MSG_DONTWAIT)) > 0)
            text.append(part.data(), static_cast<std::size_t>(count));
        ended = count == 0 || errno != EAGAIN;
        return text;
    }
    /// The next `lines` lines.
    std::string read_lines(const sys::UniqueFd& client, int lines) {
        std::string text;
        bool ended = false;
        run_until([&] {
            const std::string more = receive_now(client, ended);
            lines -= static_cast<int>(std::ranges::count(more, '\n'));
            text += more;
            return ended || lines <= 0;
        });
        return text;
    }
    /// All that comes until the server closes the connection.
    std::string read_to_end(const sys::UniqueFd& client) {
        std::string text;
        bool ended = false;
        run_until([&] {
            text += receive_now(client, ended);
            return ended;
        });
        return text;
    }

    test::TemporaryDirectory directory;
    const std::filesystem::path socket = directory / "daemon.sock";

  private:
    EventLoop loop_;

  protected:
    std::unique_ptr<Server> server; ///< gone before its loop
};

} // namespace kmodguard::daemon
