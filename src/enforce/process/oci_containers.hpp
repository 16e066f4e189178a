// SPDX-License-Identifier: AGPL-3.0-only
//
// The containers whose module calls the agent answers. Each has a thread of its own, which reads its policy,
// keeps its supervisor and waits for its end: all of that may take long, a load that hangs most of all, and
// one container must not hold up another, nor the hand-over of the next.
#pragma once

#include "core/judge.hpp"
#include "enforce/process/kernel_modules.hpp"
#include "enforce/process/oci_handover.hpp"
#include "events/recorder.hpp"
#include "sys/result.hpp"
#include "sys/unique_fd.hpp"

#include <chrono>
#include <cstddef>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace kmodguard::process {

class MemoryBudget;

/// A report to the one who runs the agent.
struct Notice {
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
    std::function<void(const Notice&)> report;
    KernelModules& kernel;
};

class Containers {
  public:
    /// At most `most` at one time.
    [[nodiscard]] static sys::Result<std::unique_ptr<Containers>> create(AgentDependencies dependencies,
                                                                         std::size_t most);
    /// As stop(), without a timeout.
    ~Containers();
    Containers(const Containers&) = delete;
    Containers& operator=(const Containers&) = delete;

    /// Answers the container's calls until none of its processes is left.
    [[nodiscard]] sys::Result<void> add(HandOver handed);

    /// Readable when there is something to clear away.
    [[nodiscard]] int fd() const { return something_ended_.get(); }
    /// Clears away those that have ended.
    void clear_ended();

    /// Answers no more calls: they fail with ENOSYS, the kernel's answer where no process listens. Waits for
    /// those that are being answered, for `timeout` at most. False: some still are; the object must then live
    /// on.
    [[nodiscard]] bool stop(std::chrono::milliseconds timeout);

    [[nodiscard]] std::size_t size() const { return threads_.size(); }

  private:
    using Threads = std::list<std::thread>;

    Containers(AgentDependencies dependencies, std::size_t most, sys::UniqueFd stop,
               sys::UniqueFd something_ended);
    void run(HandOver handed, Threads::iterator self);
    void supervise(HandOver handed) const;
    void refuse(const std::string& container, const sys::Error& error) const;
    void wait_for_end(int listener) const;

    AgentDependencies dependencies_;
    std::size_t max_containers_;
    std::shared_ptr<MemoryBudget> powerless_; ///< one for all containers, however many there are
    sys::UniqueFd stop_;                      ///< an eventfd, readable from the beginning of the end
    sys::UniqueFd something_ended_;
    Threads threads_; ///< the owner's thread's alone
    std::mutex mutex_;
    std::vector<Threads::iterator> ended_;
};

} // namespace kmodguard::process
