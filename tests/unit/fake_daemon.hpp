// SPDX-License-Identifier: AGPL-3.0-only
//
// Somebody at the other end of the control socket who answers as the test says, in a thread of its own: one
// connection after the other, one request line each.
#pragma once

#include "sys/unique_fd.hpp"
#include "sys/unix_socket.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include <filesystem>
#include <functional>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace kmodguard::test {

class FakeDaemon {
  public:
    /// The end of the connection on the daemon's side. Closed when the script returns.
    class Connection {
      public:
        explicit Connection(sys::UniqueFd fd) : fd_(std::move(fd)) {}
        /// The next line without its newline, or what came before the end.
        std::string read_line() {
            std::string line;
            for (char c = '\0'; ::recv(fd_.get(), &c, 1, 0) == 1 && c != '\n';)
                line += c;
            return line;
        }
        /// Sends `text` whole. False if the client is gone.
        bool send(std::string_view text) { return sys::send_all(fd_, text).has_value(); }
        /// Whether the client hangs up, or sends something, within so many milliseconds.
        [[nodiscard]] bool hung_up_within(int milliseconds) const {
            pollfd poll{.fd = fd_.get(), .events = POLLIN, .revents = 0};
            return ::poll(&poll, 1, milliseconds) > 0;
        }
        /// Returns when the client has sent something, and leaves it unread.
        void wait_for_input() {
            char c = '\0';
            static_cast<void>(::recv(fd_.get(), &c, 1, MSG_PEEK));
        }
        /// Returns when the client has hung up.
        void wait_for_hangup() {
            for (char c = '\0'; ::recv(fd_.get(), &c, 1, 0) == 1;) {
            }
        }

      private:
        sys::UniqueFd fd_;
    };
    using Script = std::function<void(Connection&, const std::string& request)>;

    /// Reads a request from each connection, then runs `script`.
    FakeDaemon(const std::filesystem::path& socket, Script script)
        : FakeDaemon(socket, [this, script = std::move(script)](Connection& connection) {
              const std::string request = connection.read_line();
              {
                  const std::scoped_lock lock(mutex_);
                  requests_.push_back(request);
              }
              script(connection, request);
          }) {}
    /// Answers each request with `text`.
    FakeDaemon(const std::filesystem::path& socket, const std::string& text)
        : FakeDaemon(socket, [text](Connection& connection, const std::string&) { connection.send(text); }) {}
    /// Runs `script` on each connection as it is.
    FakeDaemon(const std::filesystem::path& socket, std::function<void(Connection&)> script)
        : script_(std::move(script)) {
        auto listening = sys::listen_unix(socket, 0600, 16);
        if (!listening) throw std::runtime_error(listening.error().what);
        listening_ = std::move(*listening);
        ::fcntl(listening_.get(), F_SETFL, 0); // accept() shall wait
        thread_ = std::thread([this] { serve(); });
    }
    FakeDaemon(const FakeDaemon&) = delete;
    FakeDaemon& operator=(const FakeDaemon&) = delete;
    ~FakeDaemon() {
        ::shutdown(listening_.get(), SHUT_RDWR);
        thread_.join();
    }

    [[nodiscard]] std::vector<std::string> requests() const {
        const std::scoped_lock lock(mutex_);
        return requests_;
    }

  private:
    void serve() {
        while (true) {
            sys::UniqueFd fd(::accept4(listening_.get(), nullptr, nullptr, SOCK_CLOEXEC));
            if (!fd) return;
            Connection connection(std::move(fd));
            script_(connection);
        }
    }

    std::function<void(Connection&)> script_;
    mutable std::mutex mutex_;
    std::vector<std::string> requests_;
    sys::UniqueFd listening_;
    std::thread thread_;
};

} // namespace kmodguard::test
