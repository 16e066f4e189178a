// SPDX-License-Identifier: AGPL-3.0-only
//
// A thread that waits for a notification waits in the kernel, and only a signal gets it out of there: one
// that is handled by doing nothing.
#include "enforce/process/supervisor.hpp"

#include <poll.h>

#include <cerrno>
#include <csignal>
#include <system_error>
#include <utility>

namespace kmodguard::process {
namespace {

constexpr int wake_up = SIGURG; // ignored by default, so that one that comes late does no harm

void handle_wake_up() {
    struct sigaction action{};
    action.sa_handler = [](int) {};
    ::sigaction(wake_up, &action, nullptr); // without SA_RESTART
}

} // namespace

sys::Result<std::unique_ptr<Supervisor>> Supervisor::start(Listener listener, core::Judge& judge,
                                                           KernelModules& kernel, events::Recorder& recorder,
                                                           const SupervisorSettings& settings) {
    handle_wake_up();
    std::unique_ptr<Supervisor> supervisor( // NOLINT(modernize-make-unique): the constructor is private
        new Supervisor(std::move(listener), judge, kernel, recorder, settings));
    const std::scoped_lock lock(supervisor->mutex_);
    supervisor->add_worker();
    if (supervisor->workers_.empty())
        return sys::failure(sys::ErrorKind::failed, "there is no thread left to answer module calls",
                            "is there a limit on processes? (ulimit -u, pids.max)");
    return supervisor;
}

Supervisor::Supervisor(Listener listener, core::Judge& judge, KernelModules& kernel,
                       events::Recorder& recorder, const SupervisorSettings& settings)
    : listener_(std::move(listener)), responder_(listener_, judge, kernel, recorder, settings),
      max_threads_(std::max<std::size_t>(1, settings.limits.threads)) {}

void Supervisor::add_worker() {
    Worker& worker = workers_.emplace_back();
    try {
        worker.thread = std::jthread([this, &worker] { work(worker); });
        ++idle_;
    } catch (const std::system_error&) { // no more threads for now: those there are go on
        workers_.pop_back();
    }
}

void Supervisor::work(Worker& worker) {
    while (true) {
        worker.receiving = true;
        if (stopping_) break;
        const auto received = listener_.receive();
        worker.receiving = false;
        if (!received) break; // the listener is of no more use
        const std::optional<Notification>& notification = *received;
        if (!notification && no_process_left()) break;
        if (!notification) continue;
        {
            const std::scoped_lock lock(mutex_);
            if (--idle_ == 0 && workers_.size() < max_threads_ && !stopping_) add_worker();
        }
        try {
            responder_.respond(*notification);
        } catch (const std::exception&) { // no memory for the record either: at least nothing hangs
            listener_.answer(notification->id, -ENOMEM);
        }
        const std::scoped_lock lock(mutex_);
        ++idle_;
    }
    worker.receiving = false;
    worker.ended = true;
}

bool Supervisor::no_process_left() const {
    pollfd listener{.fd = listener_.fd(), .events = 0, .revents = 0};
    return ::poll(&listener, 1, 0) == 1 && (listener.revents & POLLHUP) != 0;
}

/// Whether all have ended. One that is just about to wait for a notification misses its signal, and gets
/// another.
bool Supervisor::interrupt_workers() {
    bool all = true;
    for (Worker& worker : workers_) {
        if (worker.ended) continue;
        all = false;
        if (worker.receiving) ::pthread_kill(worker.thread.native_handle(), wake_up);
    }
    return all;
}

bool Supervisor::stop(std::chrono::milliseconds timeout) {
    constexpr std::chrono::milliseconds pause{1};
    {
        const std::scoped_lock lock(mutex_);
        stopping_ = true; // no worker is added from here on
    }
    const auto end = std::chrono::steady_clock::now() + timeout;
    responder_.finish_records(); // whatever becomes of this process while it waits
    bool ended = interrupt_workers();
    while (!ended && std::chrono::steady_clock::now() <= end) {
        std::this_thread::sleep_for(pause);
        ended = interrupt_workers();
    }
    responder_.finish_records();
    if (!ended) responder_.release_log();
    return ended;
}

Supervisor::~Supervisor() {
    while (!stop(std::chrono::hours(1))) {
    }
}

} // namespace kmodguard::process
