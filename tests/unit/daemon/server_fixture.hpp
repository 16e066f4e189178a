// SPDX-License-Identifier: AGPL-3.0-only
//
// A server and its clients in one thread: the test takes the event loop step by step until what it waits for
// has happened, so that nothing depends on who is faster.
#pragma once

#include "daemon/server.hpp"
#include "temporary_directory.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>

namespace kmodguard::daemon {

class ServerFixture : public ::testing::Test {
  protected:
    ServerFixture();
    ~ServerFixture() override;

    static Server::Reply reply(std::string text, bool last = false);
    /// "ECHO a" is answered by "argument a" and OK; with LAST the connection ends then.
    static Server::Reply echo(const protocol::Request& request, const sys::Peer& peer = {});

    void serve(Server::Handler handler = echo, ServerLimits limits = {}, mode_t mode = 0600,
               Server::TurnedAway turned_away = nullptr, Server::RoundDone round_done = nullptr);

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
    void run_until_idle();

    sys::UniqueFd connect() const;
    sys::UniqueFd connect_and_send(std::string_view text) const;
    static void send(const sys::UniqueFd& client, std::string_view text);

    /// What is there to be read now; sets `ended` at the end of the stream.
    static std::string receive_now(const sys::UniqueFd& client, bool& ended);
    /// The next `lines` lines.
    std::string read_lines(const sys::UniqueFd& client, int lines);
    /// All that comes until the server closes the connection.
    std::string read_to_end(const sys::UniqueFd& client);

    test::TemporaryDirectory directory;
    const std::filesystem::path socket = directory / "daemon.sock";

  private:
    EventLoop loop_;

  protected:
    std::unique_ptr<Server> server; ///< gone before its loop
};

} // namespace kmodguard::daemon
