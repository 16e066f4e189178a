// SPDX-License-Identifier: AGPL-3.0-only
#include "enforce/process/agent.hpp"

#include "enforce/process/caller.hpp"
#include "sys/unix_socket.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <utility>
#include <vector>

namespace kmodguard::process {
namespace {

/// Connections taken in one go, before those that are there have their turn.
constexpr int accepted_at_once = 64;
/// Before the next try, where no descriptor could be opened and no connection can be dropped for it.
constexpr std::chrono::milliseconds pause{200};

} // namespace

sys::Result<Agent> Agent::create(sys::UniqueFd socket, AgentDependencies dependencies,
                                 const AgentLimits& limits) {
    auto containers = TRY(Containers::create(dependencies, limits.containers));
    return Agent(std::move(socket), std::move(dependencies), limits, std::move(containers));
}

Agent::Agent(sys::UniqueFd socket, AgentDependencies dependencies, const AgentLimits& limits,
             std::unique_ptr<Containers> containers)
    : socket_(std::move(socket)), dependencies_(std::move(dependencies)), limits_(limits),
      containers_(std::move(containers)) {}

sys::Result<void> Agent::run(int stop) {
    while (true) {
        const auto goes_on = TRY(wait(stop));
        if (!goes_on) return {};
        containers_->clear_ended();
        for (auto client = clients_.begin(); client != clients_.end();) {
            const auto next = std::next(client);
            if (client->readable) receive_from(*client);
            if (client->connection.fd() < 0) clients_.erase(client);
            client = next;
        }
        drop_timed_out();
        accept_waiting();
    }
}

sys::Result<bool> Agent::wait(int stop) {
    const bool accepts = Clock::now() >= accept_from_;
    std::vector<pollfd> watched{{.fd = stop, .events = POLLIN, .revents = 0},
                                {.fd = containers_->fd(), .events = POLLIN, .revents = 0},
                                {.fd = accepts ? socket_.get() : -1, .events = POLLIN, .revents = 0}};
    for (const Client& client : clients_)
        watched.push_back({.fd = client.connection.fd(), .events = POLLIN, .revents = 0});
    if (::poll(watched.data(), watched.size(), timeout()) < 0 && errno != EINTR)
        return sys::system_failure("cannot wait for", "the runtimes");
    auto result = watched.begin() + 3;
    for (Client& client : clients_)
        client.readable = (result++)->revents != 0;
    return watched.front().revents == 0;
}

/// Milliseconds until something is due; -1 if nothing is.
int Agent::timeout() const {
    const auto now = Clock::now();
    auto due = Clock::time_point::max();
    if (accept_from_ > now) due = accept_from_;
    for (const Client& client : clients_)
        due = std::min(due, client.deadline);
    if (due == Clock::time_point::max()) return -1;
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(due - now);
    return static_cast<int>(std::max(left, std::chrono::milliseconds(0)).count());
}

void Agent::accept_waiting() {
    const bool enough_descriptors = sys::accept_waiting(
        socket_, accepted_at_once,
        [this] {
            if (clients_.empty()) return false;
            refuse(clients_.front(), "no descriptors are left for others");
            clients_.pop_front();
            return true;
        },
        [this](sys::UniqueFd socket) { admit_client(std::move(socket)); });
    if (!enough_descriptors) accept_from_ = Clock::now() + pause;
}

void Agent::admit_client(sys::UniqueFd socket) {
    const auto peer = sys::peer_of(socket);
    Client client{.connection = RuntimeConnection(std::move(socket)),
                  .peer = peer ? peer->pid : 0,
                  .deadline = Clock::now() + limits_.silence};
    if (!peer || (peer->uid != 0 && peer->uid != ::geteuid())) {
        refuse(client,
               peer ? fmt::format("user {} may not hand containers over", peer->uid) : peer.error().what);
        return;
    }
    if (clients_.size() >= limits_.connections) {
        refuse(clients_.front(), fmt::format("more than {} connections", limits_.connections));
        clients_.pop_front();
    }
    clients_.push_back(std::move(client));
}

/// Takes what a client has sent, and ends the connection unless there is more to come.
void Agent::receive_from(Client& client) {
    const bool began = !client.connection.silent();
    auto received = client.connection.receive();
    if (received && std::holds_alternative<RuntimeConnection::Incomplete>(*received)) {
        if (!began && !client.connection.silent()) client.deadline = Clock::now() + limits_.timeout;
        return;
    }
    if (!received)
        refuse(client, received.error().what);
    else if (auto* handed = std::get_if<HandOver>(&*received)) // one that is Closed only looked who listens
        take_over(std::move(*handed));
    client.connection = RuntimeConnection(sys::UniqueFd()); // closes it, and all that came with it
}

void Agent::take_over(HandOver handed) {
    const std::string id = handed.state.id;
    // At once: what runs in the container may be in another before long.
    const auto name_space = Caller(handed.state.pid).user_namespace();
    if (name_space) handed.user_namespace = name_space->id;
    if (const auto added = containers_->add(std::move(handed)); !added)
        dependencies_.report({.refused = true,
                              .container = id,
                              .text = "is refused, its module calls fail: " + added.error().what});
}

void Agent::drop_timed_out() {
    const auto now = Clock::now();
    clients_.remove_if([&](const Client& client) {
        if (client.deadline > now) return false;
        refuse(client, client.connection.silent() ? "nothing was sent for too long"
                                                  : "the state did not come to its end in time");
        return true;
    });
}

void Agent::refuse(const Client& client, const std::string& why) const {
    dependencies_.report(
        {.refused = true,
         .container = "",
         .text = fmt::format("the hand-over by process {} is refused: {}", client.peer, why)});
}

} // namespace kmodguard::process
