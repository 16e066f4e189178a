// SPDX-License-Identifier: AGPL-3.0-only
//
// Answers the module system calls of the processes under one filter. For each the image is copied out of the
// caller, the copy is judged, and what is allowed the supervisor loads itself: the copy, with the caller's
// parameters and flags, if the caller itself had the right to. Nothing is ever answered with "continue",
// for by the time the kernel would look, the caller's memory and descriptors may hold anything.
//
// Every thread receives and answers for itself, so that an answer costs no more switching between threads
// than it must; and there is always one more that receives, up to a limit: a load takes as long as the
// module's init does, and may wait for another's.
#pragma once

#include "enforce/process/responder.hpp"
#include "sys/result.hpp"

#include <atomic>
#include <chrono>
#include <list>
#include <memory>
#include <mutex>
#include <thread>

namespace kmodguard::process {

class Supervisor {
  public:
    /// Answers what comes to `listener` from now on, by `judge`; events, and lines of modules.log, go to
    /// `recorder`. All but the listener must outlive it. Fails where there is no thread for it.
    [[nodiscard]] static sys::Result<std::unique_ptr<Supervisor>> start(Listener listener, core::Judge& judge,
                                                                        KernelModules& kernel,
                                                                        events::Recorder& recorder,
                                                                        const SupervisorSettings& settings);
    Supervisor(const Supervisor&) = delete;
    Supervisor& operator=(const Supervisor&) = delete;
    /// As stop(), without a timeout. Calls that come later fail with ENOSYS: the kernel's answer where no
    /// process listens.
    ~Supervisor();

    /// Answers no more calls, and waits for those that are being answered, for `timeout` at most. False: some
    /// still are; the object must then live on.
    [[nodiscard]] bool stop(std::chrono::milliseconds timeout);

    /// Has POLLHUP when no process is left under the filter.
    [[nodiscard]] int fd() const { return listener_.fd(); }

  private:
    struct Worker {
        std::atomic<bool> receiving = false; ///< in the system call that waits for a notification
        std::atomic<bool> ended = false;
        std::jthread thread;
    };

    Supervisor(Listener listener, core::Judge& judge, KernelModules& kernel, events::Recorder& recorder,
               const SupervisorSettings& settings);
    void add_worker();
    void work(Worker& worker);
    [[nodiscard]] bool no_process_left() const;
    [[nodiscard]] bool interrupt_workers();

    Listener listener_;
    Responder responder_;
    std::size_t max_threads_;
    std::atomic<bool> stopping_ = false;
    std::mutex mutex_; ///< of what follows
    std::list<Worker> workers_;
    std::size_t idle_ = 0;
};

} // namespace kmodguard::process
