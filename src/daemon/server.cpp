// SPDX-License-Identifier: AGPL-3.0-only
#include "daemon/server.hpp"

#include "sys/unix_socket.hpp"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>

namespace kmodguard::daemon {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::uint64_t sweep_interval = 1'000'000; ///< microseconds
/// Connections taken in one go, before the other sources have their turn.
constexpr int accepted_at_once = 64;

protocol::Answer error(sys::ErrorKind kind, std::string what) {
    return protocol::error_answer({kind, std::move(what)});
}

} // namespace

struct Server::Client {
    Server& server;
    sys::UniqueFd fd;
    sys::Peer peer;
    Clock::time_point deadline;
    std::string input{};
    std::string output{};
    std::function<void()> afterwards{};
    bool last = false; ///< nothing more is read; closed when the output is gone
    EventSource source{};
    Clients::iterator self{};

    /// Also of a client that is gone before it has taken its answer.
    ~Client() {
        if (afterwards) afterwards();
    }
};

Server::Server(sd_event* loop, sys::UniqueFd socket, Handler handler, ServerLimits limits,
               TurnedAway turned_away)
    : loop_(loop), socket_(std::move(socket)), handler_(std::move(handler)), limits_(limits),
      turned_away_(std::move(turned_away)) {}

Server::~Server() = default;

sys::Result<std::unique_ptr<Server>> Server::create(sd_event* loop, sys::UniqueFd socket, Handler handler,
                                                    ServerLimits limits, TurnedAway turned_away) {
    std::unique_ptr<Server> server(new Server(loop, std::move(socket), std::move(handler), limits, // NOLINT
                                              std::move(turned_away)));
    sd_event_source* source = nullptr;
    const auto on_connection = [](sd_event_source*, int, std::uint32_t, void* self) {
        static_cast<Server*>(self)->accept_waiting();
        return 0;
    };
    if (const int code =
            sd_event_add_io(loop, &source, server->socket_.get(), EPOLLIN, on_connection, server.get());
        code < 0)
        return sys::system_failure("cannot watch", "the control socket", -code);
    server->listening_.reset(source);
    const auto on_sweep = [](sd_event_source* timer, std::uint64_t, void* self) {
        static_cast<Server*>(self)->drop_expired();
        if (static_cast<Server*>(self)->clients_.empty()) return 0;
        sd_event_source_set_time_relative(timer, sweep_interval);
        return sd_event_source_set_enabled(timer, SD_EVENT_ONESHOT);
    };
    if (const int code = sd_event_add_time_relative(loop, &source, CLOCK_MONOTONIC, sweep_interval, 0,
                                                    on_sweep, server.get());
        code < 0)
        return sys::system_failure("cannot set", "a timer", -code);
    sd_event_source_set_enabled(source, SD_EVENT_OFF);
    server->sweep_.reset(source);
    return server;
}

void Server::accept_waiting() {
    sys::accept_waiting(
        socket_, accepted_at_once,
        [this] {
            if (clients_.empty()) return false;
            drop(*clients_.front()); // makes room: a new client comes before an old one
            return true;
        },
        [this](sys::UniqueFd fd) { welcome(std::move(fd)); });
}

void Server::welcome(sys::UniqueFd fd) {
    const auto peer = sys::peer_of(fd);
    auto client = std::make_unique<Client>(*this, std::move(fd), peer.value_or(sys::Peer{}),
                                           Clock::now() + limits_.timeout);
    if (!peer || peer->uid != ::geteuid()) {
        if (peer && turned_away_) turned_away_(*peer);
        client->output = encode(error(sys::ErrorKind::denied, "only root may ask"));
        client->last = true;
    }
    if (serve(*client)) keep(std::move(client));
}

/// Reads, answers and writes as far as it goes without waiting. False if the connection is to be closed.
bool Server::serve(Client& client) {
    while (true) {
        if (!write_to(client)) return false;
        if (!client.output.empty()) return true;
        if (client.last) return false;
        const std::size_t before = client.input.size();
        answer_next(client);
        if (!client.output.empty()) continue;
        if (!read_from(client)) return false;
        if (client.input.size() == before) return true;
    }
}

/// False at the end of the stream, or if the connection broke.
bool Server::read_from(Client& client) {
    std::array<char, protocol::max_request + 1>
        buffer; // NOLINT(cppcoreguidelines-pro-type-member-init): recv() fills it
    const ssize_t count = ::recv(client.fd.get(), buffer.data(), buffer.size(), 0);
    if (count < 0) return errno == EAGAIN || errno == EINTR;
    client.input.append(buffer.data(), static_cast<std::size_t>(count));
    return count > 0;
}

/// False if the connection broke.
bool Server::write_to(Client& client) {
    while (!client.output.empty()) {
        const ssize_t count =
            ::send(client.fd.get(), client.output.data(), client.output.size(), MSG_NOSIGNAL);
        if (count < 0) return errno == EAGAIN || errno == EINTR;
        client.output.erase(0, static_cast<std::size_t>(count));
    }
    if (client.afterwards) std::exchange(client.afterwards, nullptr)();
    return true;
}

/// Answers the first whole line of the input, if there is one.
void Server::answer_next(Client& client) {
    const std::size_t newline = client.input.find('\n');
    if (newline == std::string::npos) {
        if (client.input.size() <= protocol::max_request) return;
        client.output = encode(error(sys::ErrorKind::invalid, "the request is too long"));
        client.last = true;
        return;
    }
    const auto request = protocol::parse_request(std::string_view(client.input).substr(0, newline));
    client.input.erase(0, newline + 1);
    client.deadline = Clock::now() + limits_.timeout;
    if (!request) {
        client.output = encode(protocol::error_answer(request.error()));
        client.last = true;
        return;
    }
    Reply reply = handler_(*request, client.peer);
    client.output = std::move(reply.text);
    client.afterwards = std::move(reply.afterwards);
    client.last = reply.last;
}

void Server::keep(std::unique_ptr<Client> client) {
    const auto on_ready = [](sd_event_source* source, int, std::uint32_t, void* data) {
        Client& ready = *static_cast<Client*>(data);
        if (!ready.server.serve(ready)) {
            ready.server.drop(ready);
            return 0;
        }
        return sd_event_source_set_io_events(source, ready.output.empty() ? EPOLLIN : EPOLLOUT);
    };
    if (clients_.size() >= limits_.clients) drop(*clients_.front());
    const std::uint32_t events = client->output.empty() ? EPOLLIN : EPOLLOUT;
    sd_event_source* source = nullptr;
    if (sd_event_add_io(loop_, &source, client->fd.get(), events, on_ready, client.get()) < 0)
        return; // closes it
    client->source.reset(source);
    clients_.push_back(std::move(client));
    clients_.back()->self = std::prev(clients_.end());
    if (clients_.size() == 1) {
        sd_event_source_set_time_relative(sweep_.get(), sweep_interval);
        sd_event_source_set_enabled(sweep_.get(), SD_EVENT_ONESHOT);
    }
}

void Server::drop(Client& client) {
    clients_.erase(client.self);
}

void Server::drop_expired() {
    const auto now = Clock::now();
    clients_.remove_if([now](const std::unique_ptr<Client>& client) { return client->deadline <= now; });
}

} // namespace kmodguard::daemon
