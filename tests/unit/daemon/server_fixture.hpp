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
    static Server::Reply echo(const protocol::Request& request);

    void serve(Server::Handler handler = echo, ServerLimits limits = {}, mode_t mode = 0600);

    /// Runs the loop until `condition` holds. A minute without that is a failure.
    template <typename Condition>
    void run_until(Condition condition) {
        const auto deadline = std::chrono::steady_clock::now() + std::chrono::minutes(1);
        while (!condition()) {
            if (std::chrono::steady_clock::now() > deadline) throw std::runtime_error("nothing happens");
            constexpr std::uint64_t microseconds = 10'000;
            sd_event_run(loop_.get(), microseconds);
        }
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
