// SPDX-License-Identifier: AGPL-3.0-only
#include "enforce/process/agent.hpp"

#include "enforce/process/caller.hpp"
#include "enforce/process/supervisor.hpp"
#include "sys/file.hpp"
#include "sys/unix_socket.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <exception>
#include <filesystem>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace kmodguard::process {
namespace {

/// Connections taken in one go, before those that are there have their turn.
constexpr int accepted_at_once = 64;
/// Before the next try, where no descriptor could be opened and no connection can be dropped for it.
constexpr std::chrono::milliseconds pause{200};

/// Of one container. Many share the agent's memory, and few modules are as large.
constexpr Limits container_limits{
    .image_bytes = 512ULL << 20U, .memory = 512ULL << 20U, .threads = 16, .known_processes = 2};

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

/// From now to `due`, as poll(2) takes it; 0 if that is over.
int milliseconds_to(std::chrono::steady_clock::time_point due) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(due - std::chrono::steady_clock::now());
    return static_cast<int>(std::max(left, std::chrono::milliseconds(0)).count());
}

} // namespace

/// The containers whose module calls are answered. Each has a thread of its own, which reads its policy,
/// keeps its supervisor and waits for its end: all of that may take long, a load that hangs most of all, and
/// one container must not hold up another, nor the hand-over of the next.
class Agent::Containers {
  public:
    Containers(AgentDependencies dependencies, std::size_t max, sys::UniqueFd stop,
               sys::UniqueFd something_ended)
        : dependencies_(std::move(dependencies)), max_containers_(max),
          powerless_(std::make_shared<MemoryBudget>(container_limits.powerless_memory)),
          stop_(std::move(stop)), something_ended_(std::move(something_ended)) {}
    Containers(const Containers&) = delete;
    Containers& operator=(const Containers&) = delete;
    ~Containers() { raise(stop_); } // and then the threads are waited for

    /// Has the container's calls answered until none of its processes is left.
    void add(HandOver handed) {
        const std::string id = handed.state.id;
        if (threads_.size() >= max_containers_)
            return refuse(id, fmt::format("{} containers are supervised already, the most there may be",
                                          max_containers_));
        Thread& added = threads_.emplace_back();
        try {
            added.thread = std::jthread([this, &added, handed = std::move(handed)]() mutable {
                run(std::move(handed));
                added.ended = true;
                raise(something_ended_);
            });
        } catch (const std::system_error& error) {
            threads_.pop_back();
            refuse(id, fmt::format("cannot start a thread for the container: {}", error.what()));
        }
    }

    /// Readable when there is something to clear away.
    [[nodiscard]] int fd() const { return something_ended_.get(); }

    /// Clears away those that have ended.
    void clear_ended() {
        eventfd_t ignored = 0;
        ::eventfd_read(something_ended_.get(), &ignored);
        threads_.remove_if([](const Thread& thread) { return thread.ended.load(); });
    }

    [[nodiscard]] bool stop(std::chrono::milliseconds timeout) {
        raise(stop_);
        const auto until = std::chrono::steady_clock::now() + timeout;
        while (true) {
            clear_ended();
            if (threads_.empty()) return true;
            const int left = milliseconds_to(until);
            if (left == 0) return false;
            pollfd ended{.fd = fd(), .events = POLLIN, .revents = 0};
            ::poll(&ended, 1, left);
        }
    }

    void report(const AgentReport& report) const { dependencies_.report(report); }

  private:
    struct Thread {
        std::atomic<bool> ended = false; ///< all but its last steps
        std::jthread thread;             ///< is waited for when this goes
    };

    void refuse(const std::string& container, const std::string& why) const {
        report(
            {.refused = true, .container = container, .text = "is refused, its module calls fail: " + why});
    }

    void run(HandOver handed) const {
        const std::string id = handed.state.id;
        try {
            supervise(std::move(handed));
        } catch (const std::exception& error) { // no memory: the listener is closed by now
            report(
                {.refused = true,
                 .container = id,
                 .text = fmt::format("is not supervised any more, its module calls fail: {}", error.what())});
        }
    }

    void supervise(HandOver handed) const {
        const std::string& id = handed.state.id;
        // Asked of here and not where it was received: what has been sent may be any file, and take its time.
        auto listener = Listener::adopt(std::move(handed.listener));
        if (!listener) return refuse(id, listener.error().what);
        const ContainerJudge judged_by = dependencies_.judge_of(handed.state);
        std::uint64_t served = 0;
        if (judged_by.judge->policy().serves_user_namespaces()) {
            const auto configured = configured_user_namespace(handed);
            served = configured.value_or(0);
            if (!configured)
                report({.container = id,
                        .text = "is not served in its user namespace: " + configured.error().what});
        }
        const auto supervisor = Supervisor::start(
            std::move(*listener), *judged_by.judge, dependencies_.kernel, *judged_by.recorder,
            {.container = id, .limits = container_limits, .powerless = powerless_, .user_namespace = served});
        if (!supervisor) return refuse(id, supervisor.error().what);
        wait_for_end((*supervisor)->fd());
    }

    void wait_for_end(int listener) const {
        std::array<pollfd, 2> watched{{{.fd = listener, .events = 0, .revents = 0},
                                       {.fd = stop_.get(), .events = POLLIN, .revents = 0}}};
        while (watched[0].revents == 0 && watched[1].revents == 0)
            if (::poll(watched.data(), watched.size(), -1) < 0 && errno != EINTR) return;
    }

    AgentDependencies dependencies_;
    std::size_t max_containers_;
    std::shared_ptr<MemoryBudget> powerless_; ///< one for all containers, however many there are
    sys::UniqueFd stop_;                      ///< an eventfd, readable from the beginning of the end
    sys::UniqueFd something_ended_;
    std::list<Thread> threads_; ///< the owner's alone; the last member, since they use the others
};

sys::Result<Agent> Agent::create(sys::UniqueFd socket, AgentDependencies dependencies,
                                 const AgentLimits& limits) {
    sys::UniqueFd stop(::eventfd(0, EFD_CLOEXEC));
    sys::UniqueFd something_ended(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!stop || !something_ended) return sys::system_failure("cannot create", "an eventfd");
    auto containers = std::make_unique<Containers>(std::move(dependencies), limits.containers,
                                                   std::move(stop), std::move(something_ended));
    return Agent(std::move(socket), limits, std::move(containers));
}

Agent::Agent(sys::UniqueFd socket, const AgentLimits& limits, std::unique_ptr<Containers> containers)
    : socket_(std::move(socket)), limits_(limits), containers_(std::move(containers)) {}

Agent::Agent(Agent&&) noexcept = default;
Agent::~Agent() = default;

bool Agent::stop(std::chrono::milliseconds timeout) {
    return containers_->stop(timeout);
}

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
    auto due = Clock::time_point::max();
    if (accept_from_ > Clock::now()) due = accept_from_;
    for (const Client& client : clients_)
        due = std::min(due, client.deadline);
    return due == Clock::time_point::max() ? -1 : milliseconds_to(due);
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
    else if (auto* handed = std::get_if<HandOver>(&*received)) { // one that is Closed only looked who listens
        // At once: what runs in the container may be in another before long.
        const auto name_space = Caller(handed->state.pid).user_namespace();
        if (name_space) handed->user_namespace = name_space->id;
        containers_->add(std::move(*handed));
    }
    client.connection = RuntimeConnection(sys::UniqueFd()); // closes it, and all that came with it
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
    containers_->report(
        {.refused = true,
         .container = "",
         .text = fmt::format("the hand-over by process {} is refused: {}", client.peer, why)});
}

} // namespace kmodguard::process
