// SPDX-License-Identifier: AGPL-3.0-only
//
// The control socket: many clients at once on one event loop, in the daemon's one thread, none of which can
// delay another. A client that sends too much, too slowly or nonsense gets an error and is dropped; one that
// is not root gets "ERR unauthorized".
//
// The usual client is the hook, with one request that has arrived by the time the connection is accepted, or
// when those that came with it have been answered: it is answered without ever being registered with the
// loop.
#pragma once

#include "daemon/event_loop.hpp"
#include "protocol/message.hpp"
#include "sys/result.hpp"
#include "sys/unique_fd.hpp"
#include "sys/unix_socket.hpp"

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <vector>

namespace kmodguard::daemon {

struct ServerLimits {
    std::size_t clients = 256;        ///< at once; beyond it the oldest is dropped
    std::chrono::seconds timeout{10}; ///< for a client to finish its request or take its answer
};

class Server {
  public:
    struct Reply {
        std::string text;  ///< an encoded protocol::Answer
        bool last = false; ///< the connection is closed after it
        std::vector<std::shared_ptr<const sys::UniqueFd>>
            files{}; ///< sent along; protocol::max_images at most
        /// Run once the answer was handed to the kernel; may be empty.
        std::move_only_function<void()> afterwards;
    };
    /// Called with each whole request and its sender.
    using Handler = std::function<Reply(const protocol::Request&, const sys::Peer&)>;
    /// Called with each process that may not ask.
    using TurnedAway = std::function<void(const sys::Peer&)>;

    /// Called when all have been answered that could be.
    using RoundDone = std::function<void()>;

    /// For `socket`, which listens and does not block, on `loop`, which must outlive the server.
    Server(sd_event* loop, sys::UniqueFd socket, Handler handler, ServerLimits limits = {},
           TurnedAway turned_away = nullptr, RoundDone round_done = nullptr);
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
    /// Serves a new client, who is returned if there is more to come of it.
    [[nodiscard]] std::unique_ptr<Client> welcome(sys::UniqueFd fd);
    void keep(std::unique_ptr<Client> client);
    void serve_again(Client& client);
    void drop(Client& client);
    void drop_expired();

    sd_event* loop_;
    sys::UniqueFd socket_;
    Handler handler_;
    ServerLimits limits_;
    TurnedAway turned_away_;
    RoundDone round_done_;
    uid_t own_uid_;   ///< whose processes alone may ask
    Clients clients_; ///< oldest first
    EventSource listening_;
    EventSource sweep_;
    bool sweeps_ = false; ///< the timer runs
};

} // namespace kmodguard::daemon
