// SPDX-License-Identifier: AGPL-3.0-only
//
// The control socket: many clients at once on one event loop, in the daemon's one thread, none of which can
// delay another. A client that sends too much, too slowly or nonsense gets an error and is dropped; one that
// is not root gets "ERR unauthorized".
//
// The usual client is the hook, with one request that has arrived by the time the connection is accepted: it
// is answered at once, without ever being registered with the loop.
#pragma once

#include "daemon/event_loop.hpp"
#include "protocol/message.hpp"
#include "sys/result.hpp"
#include "sys/unique_fd.hpp"
#include "sys/unix_socket.hpp"

#include <chrono>
#include <cstddef>
#include <functional>
#include <list>
#include <memory>
#include <string>

namespace kmodguard::daemon {

struct ServerLimits {
    std::size_t clients = 256;        ///< at once; beyond it the oldest is dropped
    std::chrono::seconds timeout{10}; ///< for a client to finish its request or take its answer
};

class Server {
  public:
    struct Reply {
        std::string text;                 ///< an encoded protocol::Answer
        bool last = false;                ///< the connection is closed after it
        std::function<void()> afterwards; ///< run once the answer was handed to the kernel; may be empty
    };
    /// Called with each whole request and its sender.
    using Handler = std::function<Reply(const protocol::Request&, const sys::Peer&)>;
    /// Called with each process that may not ask.
    using TurnedAway = std::function<void(const sys::Peer&)>;

    /// For `socket`, which listens and does not block, on `loop`, which must outlive the server.
    Server(sd_event* loop, sys::UniqueFd socket, Handler handler, ServerLimits limits = {},
           TurnedAway turned_away = nullptr);
    ~Server();
    Server(const Server&) = delete;
    Server& operator=(const Server&) = delete;

    /// Serves from now on.
    [[nodiscard]] sys::Result<void> start();
    [[nodiscard]] std::size_t clients() const { return clients_.size(); }

  private:
    struct Client;
    using Clients = std::list<std::unique_ptr<Client>>;

    void accept_waiting();
    void welcome(sys::UniqueFd fd);
    void keep(std::unique_ptr<Client> client);
    void drop(Client& client);
    void drop_expired();

    sd_event* loop_;
    sys::UniqueFd socket_;
    Handler handler_;
    ServerLimits limits_;
    TurnedAway turned_away_;
    Clients clients_; ///< oldest first
    EventSource listening_;
    EventSource sweep_;
};

} // namespace kmodguard::daemon
