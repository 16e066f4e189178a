// SPDX-License-Identifier: AGPL-3.0-only
#include "fake_daemon.hpp"

#include "sys/unix_socket.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include <stdexcept>
#include <utility>

namespace kmodguard::test {

FakeDaemon::Connection::Connection(sys::UniqueFd fd) : fd_(std::move(fd)) {}

std::string FakeDaemon::Connection::read_line() {
    std::string line;
    for (char c = '\0'; ::recv(fd_.get(), &c, 1, 0) == 1 && c != '\n';)
        line += c;
    return line;
}

bool FakeDaemon::Connection::send(std::string_view text) {
    return sys::send_all(fd_, text).has_value();
}

bool FakeDaemon::Connection::send_with(const sys::UniqueFd& descriptor, std::string_view text) {
    return sys::send_descriptor(fd_.get(), text, descriptor.get());
}

bool FakeDaemon::Connection::hung_up_within(int milliseconds) const {
    pollfd poll{.fd = fd_.get(), .events = POLLIN, .revents = 0};
    return ::poll(&poll, 1, milliseconds) > 0;
}

void FakeDaemon::Connection::wait_for_input() {
    char c = '\0';
    static_cast<void>(::recv(fd_.get(), &c, 1, MSG_PEEK));
}

void FakeDaemon::Connection::wait_for_hangup() {
    for (char c = '\0'; ::recv(fd_.get(), &c, 1, 0) == 1;) {
    }
}

FakeDaemon::FakeDaemon(const std::filesystem::path& socket, Script script)
    : FakeDaemon(socket, [this, script = std::move(script)](Connection& connection) {
          const std::string request = connection.read_line();
          {
              const std::scoped_lock lock(mutex_);
              requests_.push_back(request);
          }
          script(connection, request);
      }) {}

FakeDaemon::FakeDaemon(const std::filesystem::path& socket, const std::string& text)
    : FakeDaemon(socket, [text](Connection& connection, const std::string&) { connection.send(text); }) {}

FakeDaemon::FakeDaemon(const std::filesystem::path& socket, std::function<void(Connection&)> script)
    : script_(std::move(script)) {
    auto listening = sys::listen_unix(socket, 0600, 16);
    if (!listening) throw std::runtime_error(listening.error().what);
    listening_ = std::move(*listening);
    ::fcntl(listening_.get(), F_SETFL, 0); // accept() shall wait
    thread_ = std::thread([this] { serve(); });
}

FakeDaemon::~FakeDaemon() {
    ::shutdown(listening_.get(), SHUT_RDWR);
    thread_.join();
}

std::vector<std::string> FakeDaemon::requests() const {
    const std::scoped_lock lock(mutex_);
    return requests_;
}

void FakeDaemon::serve() {
    while (true) {
        sys::UniqueFd fd(::accept4(listening_.get(), nullptr, nullptr, SOCK_CLOEXEC));
        if (!fd) return;
        Connection connection(std::move(fd));
        script_(connection);
    }
}

} // namespace kmodguard::test
