// SPDX-License-Identifier: AGPL-3.0-only
//
// Takes containers over from OCI runtimes: the listener's end of the runtime specification's seccomp protocol
// (config-linux.md, listenerPath). One thread, which waits for no process, hears the runtimes out; what
// happens to a container afterwards is a thread's of its own, until its end.
#pragma once

#include "core/judge.hpp"
#include "enforce/process/kernel_modules.hpp"
#include "enforce/process/oci_handover.hpp"
#include "events/recorder.hpp"
#include "sys/result.hpp"
#include "sys/unique_fd.hpp"

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <functional>
#include <list>
#include <memory>
#include <string>

namespace kmodguard::process {

/// For the one who runs the agent.
struct AgentReport {
    bool refused = false;       ///< something that a runtime or a container wanted
    std::string container = {}; ///< its id; "" where it is not known
    std::string text = {};
};

/// What a container's calls are answered by, and where its events go.
struct ContainerJudge {
    std::unique_ptr<core::Judge> judge;
    events::Recorder* recorder = nullptr;
};

/// What the agent works with. It must outlive it, and is used by many threads at once.
struct AgentDependencies {
    /// What judges a container that starts: where its policy cannot be had, a policy that allows nothing.
    std::function<ContainerJudge(const OciState&)> judge_of;
    std::function<void(const AgentReport&)> report;
    KernelModules& kernel;
};

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
    Agent(Agent&&) noexcept;
    Agent& operator=(Agent&&) = delete;
    /// As stop(), without a timeout.
    ~Agent();

    /// Serves until `stop` is readable.
    [[nodiscard]] sys::Result<void> run(int stop);

    /// Answers no more calls: they fail with ENOSYS, the kernel's answer where no process listens. Waits for
    /// those that are being answered, for `timeout` at most. False: some still are; the object must then live
    /// on.
    [[nodiscard]] bool stop(std::chrono::milliseconds timeout);

  private:
    class Containers;
    using Clock = std::chrono::steady_clock;
    struct Client {
        RuntimeConnection connection;
        pid_t peer = 0;
        Clock::time_point deadline;
        bool readable = false;
    };

    Agent(sys::UniqueFd socket, const AgentLimits& limits, std::unique_ptr<Containers> containers);
    /// Whether to go on: not if `stop` is readable.
    [[nodiscard]] sys::Result<bool> wait(int stop);
    [[nodiscard]] int timeout() const;
    void accept_waiting();
    void admit_client(sys::UniqueFd socket);
    void receive_from(Client& client);
    void drop_timed_out();
    void refuse(const Client& client, const std::string& why) const;

    sys::UniqueFd socket_;
    AgentLimits limits_;
    std::unique_ptr<Containers> containers_;
    std::list<Client> clients_;     ///< oldest first
    Clock::time_point accept_from_; ///< no descriptors were left: not before that
};

} // namespace kmodguard::process
