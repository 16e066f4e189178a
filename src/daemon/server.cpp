// SPDX-License-Identifier: AGPL-3.0-only
#include "daemon/server.hpp"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <utility>

namespace kmodguard::daemon {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds sweep_interval{1};
/// Connections taken in one go, before the other sources have their turn.
constexpr int accepted_at_once = 64;

std::vector<int> descriptors_of(const std::vector<std::shared_ptr<const sys::UniqueFd>>& files) {
    std::vector<int> descriptors;
    for (const auto& file : files)
        descriptors.push_back(file->get());
    return descriptors;
}

} // namespace

struct Server::Client {
    Server& server;
    sys::UniqueFd fd;
    sys::Peer peer;
    Clock::time_point deadline;
    std::string input{};
    std::string output{};
    std::vector<std::shared_ptr<const sys::UniqueFd>> files{}; ///< that go with the first byte of it
    std::move_only_function<void()> afterwards{};
    bool last = false; ///< nothing more is read; closed when the output is gone
    EventSource source{};
    Clients::iterator self{};

    /// Also of a client that is gone before it has taken its answer.
    ~Client() {
        if (afterwards) afterwards();
    }

    void end_with(const sys::Error& error) {
        output = encode(protocol::error_answer(error));
        last = true;
    }
    [[nodiscard]] bool serve();
    [[nodiscard]] bool read();
    [[nodiscard]] bool write();
    void answer_next();
};

/// Reads, answers and writes as far as it goes without waiting. False if the connection is to be closed.
bool Server::Client::serve() {
    while (true) {
        if (!write()) return false;
        if (!output.empty()) return true;
        if (last) return false;
        const std::size_t before = input.size();
        answer_next();
        if (!output.empty()) continue;
        if (!read()) return false;
        if (input.size() == before) return true;
    }
}

/// False at the end of the stream, or if the connection broke.
bool Server::Client::read() {
    std::array<char, protocol::max_request + 1> buffer; // NOLINT(*-pro-type-member-init): recv() fills it
    const ssize_t count = ::recv(fd.get(), buffer.data(), buffer.size(), 0);
    if (count < 0) return errno == EAGAIN || errno == EINTR;
    input.append(buffer.data(), static_cast<std::size_t>(count));
    return count > 0;
}

/// False if the connection broke.
bool Server::Client::write() {
    while (!output.empty()) {
        const ssize_t count = sys::send_some(fd.get(), output, descriptors_of(files));
        if (count >= 0) files.clear();
        if (count < 0) return errno == EAGAIN || errno == EINTR;
        output.erase(0, static_cast<std::size_t>(count));
    }
    if (afterwards) std::exchange(afterwards, nullptr)();
    return true;
}

/// Answers the first whole line of the input, if there is one.
void Server::Client::answer_next() {
    const std::size_t newline = input.find('\n');
    if (newline == std::string::npos) {
        if (input.size() > protocol::max_request)
            end_with({sys::ErrorKind::invalid, "the request is too long"});
        return;
    }
    const auto request = protocol::parse_request(std::string_view(input).substr(0, newline));
    input.erase(0, newline + 1);
    deadline = Clock::now() + server.limits_.timeout;
    if (!request) return end_with(request.error());
    Reply reply = server.handler_(*request, peer);
    output = std::move(reply.text);
    files = std::move(reply.files);
    afterwards = std::move(reply.afterwards);
    last = reply.last;
}

Server::Server(sd_event* loop, sys::UniqueFd socket, Handler handler, ServerLimits limits,
               TurnedAway turned_away, RoundDone round_done)
    : loop_(loop), socket_(std::move(socket)), handler_(std::move(handler)), limits_(limits),
      turned_away_(std::move(turned_away)), round_done_(std::move(round_done)), own_uid_(::geteuid()) {}

Server::~Server() = default;

sys::Result<void> Server::start() {
    listening_ = watch_input<&Server::accept_waiting>(loop_, socket_.get(), this);
    if (!listening_) return sys::system_failure("cannot watch", "the control socket");
    sweep_ = stopped_timer<&Server::drop_expired>(loop_, CLOCK_MONOTONIC, this);
    if (!sweep_) return sys::system_failure("cannot set", "a timer");
    return {};
}

void Server::accept_waiting() {
    Clients early; // who have connected and not asked yet: the hook does both at once
    sys::accept_waiting(
        socket_, accepted_at_once,
        [this] {
            if (clients_.empty()) return false;
            drop(*clients_.front()); // makes room: a new client comes before an old one
            return true;
        },
        [this, &early](sys::UniqueFd fd) {
            if (auto client = welcome(std::move(fd))) early.push_back(std::move(client));
        });
    for (std::unique_ptr<Client>& client : early)
        if (client->serve()) keep(std::move(client));
    if (round_done_) round_done_();
}

std::unique_ptr<Server::Client> Server::welcome(sys::UniqueFd fd) {
    const auto peer = sys::peer_of(fd);
    auto client = std::make_unique<Client>(*this, std::move(fd), peer.value_or(sys::Peer{}),
                                           Clock::now() + limits_.timeout);
    if (!peer || peer->uid != own_uid_) {
        if (peer && turned_away_) turned_away_(*peer);
        client->end_with({sys::ErrorKind::denied, "only root may ask"});
    }
    if (!client->serve()) return nullptr;
    return client;
}

void Server::keep(std::unique_ptr<Client> client) {
    const auto on_ready = [](sd_event_source*, int, std::uint32_t, void* data) {
        Client& ready = *static_cast<Client*>(data);
        ready.server.serve_again(ready);
        return 0;
    };
    if (clients_.size() >= limits_.clients) drop(*clients_.front());
    const std::uint32_t events = client->output.empty() ? EPOLLIN : EPOLLOUT;
    sd_event_source* source = nullptr;
    if (sd_event_add_io(loop_, &source, client->fd.get(), events, on_ready, client.get()) < 0)
        return; // closes it
    client->source.reset(source);
    clients_.push_back(std::move(client));
    clients_.back()->self = std::prev(clients_.end());
    if (!std::exchange(sweeps_, true)) start_timer(sweep_, sweep_interval);
}

void Server::serve_again(Client& client) {
    const auto events = [&client] { return client.output.empty() ? EPOLLIN : EPOLLOUT; };
    // One whose events cannot be set would not be heard of again.
    if (!client.serve() || sd_event_source_set_io_events(client.source.get(), events()) < 0) drop(client);
    if (round_done_) round_done_();
}

void Server::drop(Client& client) {
    clients_.erase(client.self);
}

void Server::drop_expired() {
    const auto now = Clock::now();
    clients_.remove_if([now](const std::unique_ptr<Client>& client) { return client->deadline <= now; });
    sweeps_ = !clients_.empty();
    if (sweeps_) start_timer(sweep_, sweep_interval);
    if (round_done_) round_done_(); // of those that had not taken their answer
}

} // namespace kmodguard::daemon
