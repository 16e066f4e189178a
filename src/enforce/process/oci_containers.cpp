// SPDX-License-Identifier: AGPL-3.0-only
#include "enforce/process/oci_containers.hpp"

#include "enforce/process/caller.hpp"
#include "enforce/process/supervisor.hpp"
#include "sys/file.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>

#include <array>
#include <exception>
#include <filesystem>
#include <system_error>
#include <utility>

namespace kmodguard::process {
namespace {

/// Of one container. Many share the agent's memory, and few modules are as large.
constexpr Limits limits{.image_bytes = 512ULL << 20U, .memory = 512ULL << 20U, .threads = 16};

/// The user namespace that the container has by its configuration. Where that gives it none, the one that its
/// first process was found in is one that it has made itself. 0: none, or it cannot be known.
sys::Result<std::uint64_t> configured_user_namespace(const HandOver& handed) {
    if (handed.user_namespace == 0 || handed.user_namespace == initial_user_namespace)
        return handed.user_namespace;
    if (handed.state.bundle.empty())
        return sys::failure(sys::ErrorKind::invalid, "the runtime does not say where its configuration is");
    const auto configuration = TRY(
        sys::read_file(std::filesystem::path(handed.state.bundle) / "config.json", max_oci_configuration));
    return has_user_namespace(configuration) ? handed.user_namespace : 0;
}

void raise(const sys::UniqueFd& event) {
    ::eventfd_write(event.get(), 1);
}

} // namespace

sys::Result<std::unique_ptr<Containers>> Containers::create(AgentDependencies dependencies,
                                                            std::size_t most) {
    sys::UniqueFd stop(::eventfd(0, EFD_CLOEXEC));
    sys::UniqueFd something_ended(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!stop || !something_ended) return sys::system_failure("cannot create", "an eventfd");
    return std::unique_ptr<Containers>( // NOLINT(modernize-make-unique): the constructor is private
        new Containers(std::move(dependencies), most, std::move(stop), std::move(something_ended)));
}

Containers::Containers(AgentDependencies dependencies, std::size_t most, sys::UniqueFd stop,
                       sys::UniqueFd something_ended)
    : dependencies_(std::move(dependencies)), max_containers_(most),
      powerless_(std::make_shared<MemoryBudget>(limits.powerless_memory)), stop_(std::move(stop)),
      something_ended_(std::move(something_ended)) {}

Containers::~Containers() {
    raise(stop_);
    for (std::thread& thread : threads_)
        thread.join();
}

bool Containers::stop(std::chrono::milliseconds timeout) {
    raise(stop_);
    const auto until = std::chrono::steady_clock::now() + timeout;
    while (true) {
        clear_ended();
        if (threads_.empty()) return true;
        const auto left =
            std::chrono::ceil<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
        if (left.count() <= 0) return false;
        pollfd ended{.fd = fd(), .events = POLLIN, .revents = 0};
        ::poll(&ended, 1, static_cast<int>(left.count()));
    }
}

sys::Result<void> Containers::add(HandOver handed) {
    if (threads_.size() >= max_containers_)
        return sys::failure(
            sys::ErrorKind::failed,
            fmt::format("{} containers are supervised already, the most there may be", max_containers_),
            "run another agent, with another socket");
    const auto self = threads_.emplace(threads_.end());
    try {
        // The thread's last step names its own place; nothing looks there before this thread clears away.
        *self =
            std::thread([this, self, handed = std::move(handed)]() mutable { run(std::move(handed), self); });
    } catch (const std::system_error& error) {
        threads_.erase(self);
        return sys::failure(sys::ErrorKind::failed,
                            fmt::format("cannot start a thread for the container: {}", error.what()));
    }
    return {};
}

void Containers::clear_ended() {
    eventfd_t ignored = 0;
    ::eventfd_read(something_ended_.get(), &ignored);
    std::vector<Threads::iterator> ended;
    {
        const std::scoped_lock lock(mutex_);
        ended.swap(ended_);
    }
    for (const auto thread : ended) {
        thread->join();
        threads_.erase(thread);
    }
}

void Containers::run(HandOver handed, Threads::iterator self) {
    const std::string id = handed.state.id;
    try {
        supervise(std::move(handed));
    } catch (const std::exception& error) { // no memory: the listener is closed by now
        dependencies_.report(
            {.refused = true,
             .container = id,
             .text = fmt::format("is not supervised any more, its module calls fail: {}", error.what())});
    }
    {
        const std::scoped_lock lock(mutex_);
        ended_.push_back(self);
    }
    raise(something_ended_);
}

void Containers::supervise(HandOver handed) const {
    // Asked of here and not where it was received: what has been sent may be any file, and take its time.
    auto listener = Listener::adopt(std::move(handed.listener));
    if (!listener) return refuse(handed.state.id, listener.error());
    const ContainerJudge judged_by = dependencies_.judge_of(handed.state);
    std::uint64_t served = 0;
    if (judged_by.judge->policy().serves_user_namespaces()) {
        const auto configured = configured_user_namespace(handed);
        if (configured)
            served = *configured;
        else
            dependencies_.report({.container = handed.state.id,
                                  .text = "is not served in its user namespace: " + configured.error().what});
    }
    const auto supervisor = Supervisor::start(
        std::move(*listener), *judged_by.judge, dependencies_.kernel, *judged_by.recorder,
        {.container = handed.state.id, .limits = limits, .powerless = powerless_, .user_namespace = served});
    if (!supervisor) return refuse(handed.state.id, supervisor.error());
    wait_for_end((*supervisor)->fd());
}

void Containers::refuse(const std::string& container, const sys::Error& error) const {
    dependencies_.report({.refused = true,
                          .container = container,
                          .text = "is refused, its module calls fail: " + error.what});
}

void Containers::wait_for_end(int listener) const {
    std::array<pollfd, 2> watched{
        {{.fd = listener, .events = 0, .revents = 0}, {.fd = stop_.get(), .events = POLLIN, .revents = 0}}};
    while (watched[0].revents == 0 && watched[1].revents == 0)
        if (::poll(watched.data(), watched.size(), -1) < 0 && errno != EINTR) return;
}

} // namespace kmodguard::process
