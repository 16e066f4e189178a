// SPDX-License-Identifier: AGPL-3.0-only
//
// Takes containers over from OCI runtimes: the listener's end of the runtime specification's seccomp protocol
// (config-linux.md, listenerPath). One thread, which waits for no process, hears the runtimes out; what
// happens to a container afterwards is its own thread's (oci_containers.hpp).
#pragma once

#include "enforce/process/oci_containers.hpp"
#include "sys/result.hpp"
#include "sys/unique_fd.hpp"

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <list>
#include <memory>

namespace kmodguard::process {

struct AgentLimits {
    std::size_t connections = 128; ///< at one time; beyond it the oldest is dropped
    std::size_t containers = 1024; ///< at one time
    /// For a connection to begin. crun connects when it creates a container, and may send only when that is
    /// started (with noNewPrivileges).
    std::chrono::milliseconds silence{600'000};
    std::chrono::milliseconds timeout{10'000}; ///< for one that has begun to come to its end
};

class Agent {
  public:
    /// Takes over `socket`, which listens and does not block.
    [[nodiscard]] static sys::Result<Agent> create(sys::UniqueFd socket, AgentDependencies dependencies,
                                                   const AgentLimits& limits = {});

    /// Serves until `stop` is readable.
    [[nodiscard]] sys::Result<void> run(int stop);

    /// Lets go of the containers, as Containers::stop() does. So does the destructor, without a timeout.
    [[nodiscard]] bool stop(std::chrono::milliseconds timeout) { return containers_->stop(timeout); }

  private:
    using Clock = std::chrono::steady_clock;
    struct Client {
        RuntimeConnection connection;
        pid_t peer = 0;
        Clock::time_point deadline;
        bool readable = false;
    };

    Agent(sys::UniqueFd socket, AgentDependencies dependencies, const AgentLimits& limits,
          std::unique_ptr<Containers> containers);
    /// Whether to go on: not if `stop` is readable.
    [[nodiscard]] sys::Result<bool> wait(int stop);
    [[nodiscard]] int timeout() const;
    void accept_waiting();
    void admit_client(sys::UniqueFd socket);
    void receive_from(Client& client);
    void take_over(HandOver handed);
    void drop_timed_out();
    void refuse(const Client& client, const std::string& why) const;

    sys::UniqueFd socket_;
    AgentDependencies dependencies_;
    AgentLimits limits_;
    std::unique_ptr<Containers> containers_;
    std::list<Client> clients_;     ///< oldest first
    Clock::time_point accept_from_; ///< no descriptors were left: not before that
};

} // namespace kmodguard::process
