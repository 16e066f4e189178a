// SPDX-License-Identifier: AGPL-3.0-only
//
// Somebody at the other end of the control socket who answers as the test says, in a thread of its own: one
// connection after the other, one request line each.
#pragma once

#include "sys/unique_fd.hpp"

#include <filesystem>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace kmodguard::test {

class FakeDaemon {
  public:
    /// The end of the connection on the daemon's side. Closed when the script returns.
    class Connection {
      public:
        explicit Connection(sys::UniqueFd fd);
        /// The next line without its newline, or what came before the end.
        std::string read_line();
        /// Sends `text` whole. False if the client is gone.
        bool send(std::string_view text);
        /// The same with a descriptor.
        bool send_with(const sys::UniqueFd& descriptor, std::string_view text);
        /// Whether the client hangs up, or sends something, within so many milliseconds.
        [[nodiscard]] bool hung_up_within(int milliseconds) const;
        /// Returns when the client has sent something, and leaves it unread.
        void wait_for_input();
        /// Returns when the client has hung up.
        void wait_for_hangup();

      private:
        sys::UniqueFd fd_;
    };
    using Script = std::function<void(Connection&, const std::string& request)>;

    /// Reads a request from each connection, then runs `script`.
    FakeDaemon(const std::filesystem::path& socket, Script script);
    /// Answers each request with `text`.
    FakeDaemon(const std::filesystem::path& socket, const std::string& text);
    /// Runs `script` on each connection as it is.
    FakeDaemon(const std::filesystem::path& socket, std::function<void(Connection&)> script);
    FakeDaemon(const FakeDaemon&) = delete;
    FakeDaemon& operator=(const FakeDaemon&) = delete;
    ~FakeDaemon();

    [[nodiscard]] std::vector<std::string> requests() const;

  private:
    void serve();

    std::function<void(Connection&)> script_;
    mutable std::mutex mutex_;
    std::vector<std::string> requests_;
    sys::UniqueFd listening_;
    std::thread thread_;
};

} // namespace kmodguard::test
