// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows that a container that was handed over gets its answers by its own rules and under its own name until
// it is gone or the agent is, that whoever hands over nonsense is told of and holds up nobody, and that all
// of it is bounded. The containers are threads of this program: a filter is a thread's own.
#include "enforce/process/agent.hpp"
#include "enforce/process/seccomp.hpp"
#include "event_sink.hpp"
#include "oci_runtime.hpp"
#include "sys/unix_socket.hpp"
#include "temporary_directory.hpp"

#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <future>
#include <mutex>
#include <stdexcept>
#include <thread>

namespace kmodguard::process {
namespace {

using test::Canary;
using test::send_with;
using test::state_of;

/// What has happened, for a test to wait for.
class Happenings {
  public:
    void add(const std::string& line) {
        const std::scoped_lock lock(mutex_);
        lines_.push_back(line);
        changed_.notify_all();
    }
    /// Waits for one that holds `text`, and gives it back; "" if none comes.
    std::string wait_for(const std::string& text) {
        std::unique_lock lock(mutex_);
        std::string found;
        changed_.wait_for(lock, std::chrono::minutes(1), [&] {
            for (const std::string& line : lines_)
                if (line.find(text) != std::string::npos) found = line;
            return !found.empty();
        });
        return found;
    }
    std::size_t count(const std::string& text) {
        const std::scoped_lock lock(mutex_);
        return static_cast<std::size_t>(
            std::ranges::count_if(lines_, [&](const auto& line) { return line.find(text) != line.npos; }));
    }

  private:
    std::mutex mutex_;
    std::condition_variable changed_;
    std::vector<std::string> lines_;
};

class TellingSink final : public test::EventSink {
  public:
    explicit TellingSink(Happenings& waiting) : waiting_(waiting) {}
    void take(const events::Event& event) override {
        const auto* attempt = std::get_if<events::Attempt>(&event);
        if (attempt == nullptr) return;
        const std::string container = attempt->requester ? attempt->requester->container : "nobody";
        waiting_.add("event " + container + " " + attempt->call + " " + attempt->answer);
    }

  private:
    Happenings& waiting_;
};

std::vector<std::unique_ptr<events::Sink>> telling(Happenings& waiting) {
    std::vector<std::unique_ptr<events::Sink>> sinks;
    sinks.push_back(std::make_unique<TellingSink>(waiting));
    return sinks;
}

class NoKernel final : public KernelModules {
  public:
    int load(const modules::Buffer&, const std::string&) override { return ENOEXEC; }
    int load_file(modules::Buffer, const std::string&, int) override { return ENOEXEC; }
    bool is_loaded(const std::string&) override { return false; }
    int unload(const std::string&, unsigned) override { return ENOENT; }
};

/// A thread under a filter, whose listener is to be handed over. It calls finit_module when it is told to.
class Container {
  public:
    Container() {
        std::promise<int> listener;
        auto made = listener.get_future();
        thread_ = std::thread([this, &listener] {
            const auto program = build_filter();
            auto installed = program ? install_filter(*program) : std::unexpected(program.error());
            listener.set_value(installed ? installed->release() : -1);
            for (auto next = take(); next; next = take())
                next->set_value(::syscall(SYS_finit_module, -1, "", 0) == 0 ? 0 : errno);
        });
        listener_.reset(made.get());
    }
    Container(const Container&) = delete;
    Container& operator=(const Container&) = delete;
    ~Container() { end(); }

    [[nodiscard]] int listener() const { return listener_.get(); }
    void let_go_of_listener() { listener_.reset(); }
    /// What its next call is told.
    std::future<int> call() {
        std::promise<int> promise;
        auto future = promise.get_future();
        put(std::move(promise));
        return future;
    }
    void end() {
        if (!thread_.joinable()) return;
        put(std::nullopt);
        thread_.join();
    }

  private:
    void put(std::optional<std::promise<int>> next) {
        const std::scoped_lock lock(mutex_);
        next_.push_back(std::move(next));
        changed_.notify_one();
    }
    std::optional<std::promise<int>> take() {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return !next_.empty(); });
        auto next = std::move(next_.front());
        next_.erase(next_.begin());
        return next;
    }

    sys::UniqueFd listener_;
    std::mutex mutex_;
    std::condition_variable changed_;
    std::vector<std::optional<std::promise<int>>> next_;
    std::thread thread_;
};

class AgentTest : public testing::Test {
  protected:
    ~AgentTest() override { stop(); }

    void start(const AgentLimits& limits = {}) {
        auto socket = sys::listen_unix(path, 0600, 16);
        ASSERT_TRUE(socket) << socket.error().what;
        AgentDependencies dependencies{
            .judge_of =
                [this](const OciState& state) {
                    told.add("rules for " + state.id + " " + state.policy.value_or("-"));
                    return ContainerJudge{.judge = std::make_unique<core::Judge>(core::Policy(), nullptr),
                                          .recorder = &recorder};
                },
            .report =
                [this](const AgentReport& notice) {
                    told.add((notice.refused ? "refused: " : "said: ") + notice.container + " "
                             + notice.text);
                },
            .kernel = kernel};
        auto made = Agent::create(std::move(*socket), std::move(dependencies), limits);
        ASSERT_TRUE(made) << made.error().what;
        agent = std::make_unique<Agent>(std::move(*made));
        thread = std::thread([this] { EXPECT_TRUE(agent->run(end.get())); });
    }
    void stop() {
        if (!thread.joinable()) return;
        ::eventfd_write(end.get(), 1);
        thread.join();
        agent.reset();
        eventfd_t ended = 0;
        ::eventfd_read(end.get(), &ended); // there may be another one
    }
    sys::UniqueFd connect() {
        auto socket = sys::connect_unix(path, std::chrono::minutes(1));
        if (!socket) throw std::runtime_error(socket.error().what);
        return std::move(*socket);
    }
    void hand_over(const std::string& state, const std::vector<int>& descriptors) {
        const auto socket = connect();
        EXPECT_TRUE(send_with(socket.get(), state, descriptors));
    }
    /// Whether the agent closes its end; waits for it.
    static bool is_dropped(const sys::UniqueFd& socket) { return ends(socket, 0); }
    /// The same of this moment.
    static bool has_been_dropped(const sys::UniqueFd& socket) { return ends(socket, MSG_DONTWAIT); }
    static bool ends(const sys::UniqueFd& socket, int flags) {
        char byte = 0;
        const ssize_t count = ::recv(socket.get(), &byte, 1, flags);
        return count == 0 || (count < 0 && errno == ECONNRESET); // reset if it left something unread
    }

    test::TemporaryDirectory directory;
    std::filesystem::path path = directory / "agent.sock";
    Happenings told;
    events::Recorder recorder{telling(told)};
    NoKernel kernel;
    sys::UniqueFd end{::eventfd(0, EFD_CLOEXEC)};
    std::unique_ptr<Agent> agent;
    std::thread thread;
};

TEST_F(AgentTest, AnswersAContainerUnderItsName) {
    start();
    Container container;
    ASSERT_GE(container.listener(), 0);
    hand_over(state_of("box", R"(["seccompFd"])", R"(,"annotations":{"io.kmodguard.policy":"mine"})"),
              {container.listener()});
    container.let_go_of_listener();
    const int answer = container.call().get();
    EXPECT_TRUE(answer == EPERM || answer == EBADF) << answer; // by whether the test may load modules
    EXPECT_NE(told.wait_for("event box finit_module"), "");
    EXPECT_EQ(told.count("rules for box mine"), 1U);
    EXPECT_EQ(told.count("refused:"), 0U);
}

TEST_F(AgentTest, CallsFailOnceItHasEnded) {
    start();
    Container container;
    hand_over(state_of("box"), {container.listener()});
    container.let_go_of_listener();
    EXPECT_NE(container.call().get(), ENOSYS);
    stop();
    EXPECT_EQ(container.call().get(), ENOSYS);
}

TEST_F(AgentTest, CallsMadeBeforeTheHandOverAreAnsweredAfterIt) {
    start();
    Container container;
    auto answer = container.call();
    hand_over(state_of("box"), {container.listener()});
    EXPECT_NE(answer.get(), ENOSYS);
}

TEST_F(AgentTest, ContainersEndByThemselvesAndMakeRoom) {
    start({.containers = 1});
    const auto answer_of = [this](const std::string& id) {
        Container container;
        hand_over(state_of(id), {container.listener()});
        container.let_go_of_listener();
        return container.call().get();
    };
    for (const char* id : {"first", "second", "third"}) {
        int tries = 0; // the one before may not have been cleared away yet, and then this one is refused
        while (answer_of(id) == ENOSYS)
            ASSERT_LT(++tries, 10'000);
        EXPECT_NE(told.wait_for(std::string("event ") + id), "");
    }
}

TEST_F(AgentTest, MoreContainersThanTheLimitAreRefused) {
    start({.containers = 1});
    Container first;
    hand_over(state_of("first"), {first.listener()});
    first.let_go_of_listener();
    EXPECT_NE(first.call().get(), ENOSYS);
    Container second;
    hand_over(state_of("second"), {second.listener()});
    second.let_go_of_listener();
    EXPECT_EQ(second.call().get(), ENOSYS);
    EXPECT_NE(told.wait_for("refused: second is refused, its module calls fail: 1 containers"), "");
    EXPECT_NE(first.call().get(), ENOSYS);
}

TEST_F(AgentTest, WhatIsNoListenerIsRefusedAndClosed) {
    start();
    Canary canary;
    hand_over(state_of("box"), {canary.fd()});
    EXPECT_NE(told.wait_for("refused: box is refused, its module calls fail"), "");
    EXPECT_TRUE(canary.wait_until_closed());
    EXPECT_EQ(told.count("rules for"), 0U);
}

TEST_F(AgentTest, RefusedHandOversMakeCallsFailAndAreTold) {
    start();
    Container container;
    hand_over(state_of("box", R"(["seccompFd","pidFd"])"), {container.listener()});
    container.let_go_of_listener();
    EXPECT_EQ(container.call().get(), ENOSYS);
    const std::string line = told.wait_for("refused:");
    EXPECT_NE(line.find("process " + std::to_string(::getpid())), std::string::npos) << line;
    EXPECT_NE(line.find("names 2 descriptors, and 1 came"), std::string::npos) << line;
}

TEST_F(AgentTest, SilentConnectionsHoldUpNobodyAndAreDroppedInTime) {
    start({.silence = std::chrono::minutes(10)});
    const auto patient = connect();
    Container container;
    hand_over(state_of("box"), {container.listener()});
    container.let_go_of_listener();
    EXPECT_NE(container.call().get(), ENOSYS);
    EXPECT_FALSE(has_been_dropped(patient)) << "its time is not up";
    stop();
    EXPECT_TRUE(is_dropped(patient));
    EXPECT_EQ(told.count("nothing was sent for too long"), 0U);

    start({.silence = std::chrono::milliseconds(50)});
    const auto silent = connect();
    EXPECT_TRUE(is_dropped(silent));
    EXPECT_NE(told.wait_for("nothing was sent for too long"), "");
}

TEST_F(AgentTest, WhoBeginsAndDoesNotEndIsDroppedInTime) {
    start({.timeout = std::chrono::milliseconds(200)});
    const auto slow = connect();
    Canary canary;
    ASSERT_TRUE(send_with(slow.get(), R"({"fds":)", {canary.fd()}));
    EXPECT_TRUE(is_dropped(slow));
    EXPECT_NE(told.wait_for("did not come to its end in time"), "");
    EXPECT_TRUE(canary.wait_until_closed());
}

TEST_F(AgentTest, PatienceIsNotRenewedByEveryByte) {
    start({.silence = std::chrono::minutes(10), .timeout = std::chrono::milliseconds(300)});
    constexpr int a_minute_of_them = 3000;
    int sent = 0;
    while (sent < 2) { // one that was sent too late to renew anything shows nothing
        const auto slow = connect();
        const timeval little{.tv_sec = 0, .tv_usec = 20'000};
        ASSERT_EQ(::setsockopt(slow.get(), SOL_SOCKET, SO_RCVTIMEO, &little, sizeof little), 0);
        sent = 0;
        for (char byte = 0; ::recv(slow.get(), &byte, 1, 0) < 0 && sent < a_minute_of_them; ++sent)
            send_with(slow.get(), "{", {});
    }
    EXPECT_LT(sent, a_minute_of_them);
    EXPECT_NE(told.wait_for("did not come to its end in time"), "");
}

TEST_F(AgentTest, BeyondItsConnectionsTheOldestIsDropped) {
    start({.connections = 2});
    const auto first = connect();
    const auto second = connect();
    const auto third = connect();
    EXPECT_TRUE(is_dropped(first));
    EXPECT_NE(told.wait_for("more than 2 connections"), "");
    Container container;
    ASSERT_TRUE(send_with(third.get(), state_of("box"), {container.listener()}));
    container.let_go_of_listener();
    EXPECT_NE(container.call().get(), ENOSYS);
}

TEST_F(AgentTest, WhoOnlyLooksWhetherItIsThereIsNotWorthAWord) {
    start();
    connect();
    const auto after = connect();
    ASSERT_TRUE(send_with(after.get(), "x", {}));
    EXPECT_NE(told.wait_for("not a JSON object"), "");
    EXPECT_EQ(told.count("refused:"), 1U);
}

TEST_F(AgentTest, OtherUsersAreRefused) {
    if (::geteuid() != 0) GTEST_SKIP() << "becoming another user needs root";
    start();
    ::chmod(directory.path().c_str(), 0755);
    ::chmod(path.c_str(), 0666);
    std::thread other([this] {
        // By the system call, which changes this thread's alone.
        if (::syscall(SYS_setresuid, 65534, 65534, 65534) != 0) std::abort();
        Canary canary;
        const auto socket = connect();
        send_with(socket.get(), state_of("box"), {canary.fd()}); // unless it is closed already
        EXPECT_TRUE(is_dropped(socket));
        EXPECT_TRUE(canary.wait_until_closed());
    });
    other.join();
    EXPECT_NE(told.wait_for("user 65534 may not hand containers over"), "");
    EXPECT_EQ(told.count("rules for"), 0U);
}

} // namespace
} // namespace kmodguard::process
