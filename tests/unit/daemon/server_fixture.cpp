// SPDX-License-Identifier: AGPL-3.0-only
#include "daemon/server_fixture.hpp"

#include "sys/unix_socket.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

namespace kmodguard::daemon {

ServerFixture::ServerFixture() = default;
ServerFixture::~ServerFixture() = default;

Server::Reply ServerFixture::reply(std::string text, bool last) {
    return {.text = std::move(text), .last = last, .afterwards = nullptr};
}

Server::Reply ServerFixture::echo(const protocol::Request& request, const sys::Peer& /*peer*/) {
    return reply("argument " + request.argument + "\nOK\n", request.verb == "LAST");
}

void ServerFixture::serve(Server::Handler handler, ServerLimits limits, mode_t mode,
                          Server::TurnedAway turned_away, Server::RoundDone round_done) {
    sd_event* loop = nullptr;
    ASSERT_GE(sd_event_new(&loop), 0);
    loop_.reset(loop);
    auto listening = sys::listen_unix(socket, mode, 512);
    ASSERT_TRUE(listening) << listening.error().what;
    server = std::make_unique<Server>(loop, std::move(*listening), std::move(handler), limits,
                                      std::move(turned_away), std::move(round_done));
    ASSERT_TRUE(server->start());
}

void ServerFixture::run_until_idle() {
    while (sd_event_run(loop_.get(), 0) > 0) {
    }
}

sys::UniqueFd ServerFixture::connect() const {
    auto connected = sys::connect_unix(socket, std::chrono::seconds(60));
    if (!connected) throw std::runtime_error(connected.error().what);
    return std::move(*connected);
}

sys::UniqueFd ServerFixture::connect_and_send(std::string_view text) const {
    sys::UniqueFd client = connect();
    send(client, text);
    return client;
}

void ServerFixture::send(const sys::UniqueFd& client, std::string_view text) {
    EXPECT_TRUE(sys::send_all(client, text));
}

std::string ServerFixture::receive_now(const sys::UniqueFd& client, bool& ended) {
    std::string text;
    std::array<char, 1U << 16U> part{};
    ssize_t count = 0;
    while ((count = ::recv(client.get(), part.data(), part.size(), MSG_DONTWAIT)) > 0)
        text.append(part.data(), static_cast<std::size_t>(count));
    ended = count == 0 || errno != EAGAIN;
    return text;
}

std::string ServerFixture::read_lines(const sys::UniqueFd& client, int lines) {
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

std::string ServerFixture::read_to_end(const sys::UniqueFd& client) {
    std::string text;
    bool ended = false;
    run_until([&] {
        text += receive_now(client, ended);
        return ended;
    });
    return text;
}

} // namespace kmodguard::daemon
