// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows what a connection of a runtime may bring and what not, and that whatever is refused leaves no
// descriptor open.
#include "enforce/process/oci_handover.hpp"
#include "oci_runtime.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <array>

namespace kmodguard::process {
namespace {

using test::Canary;
using test::send_with;
using test::state_of;

class HandOverTest : public testing::Test {
  protected:
    HandOverTest() {
        std::array<int, 2> ends{};
        if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) std::abort();
        runtime.reset(ends[0]);
        ::fcntl(ends[1], F_SETFL, O_NONBLOCK);
        connection.emplace(sys::UniqueFd(ends[1]));
    }

    std::string error() {
        const auto received = connection->receive();
        if (!received) return received.error().what;
        return std::holds_alternative<HandOver>(*received) ? "taken" : "waiting";
    }
    bool all_closed() {
        connection.reset();
        return !first.is_open() && !second.is_open();
    }

    sys::UniqueFd runtime;
    std::optional<RuntimeConnection> connection;
    Canary first;
    Canary second;
};

TEST_F(HandOverTest, BringsStateAndListener) {
    ASSERT_TRUE(
        send_with(runtime.get(), state_of("c", R"(["pidFd","seccompFd"])"), {first.fd(), second.fd()}));
    auto received = connection->receive();
    ASSERT_TRUE(received && std::holds_alternative<HandOver>(*received));
    HandOver& handed = std::get<HandOver>(*received);
    EXPECT_EQ(handed.state.id, "c");
    connection.reset();
    EXPECT_FALSE(first.is_open()) << "what is not the listener is not kept";
    EXPECT_TRUE(second.is_open());
    EXPECT_EQ(::fcntl(handed.listener.get(), F_GETFD), FD_CLOEXEC);
}

TEST_F(HandOverTest, MayComeInPiecesAndWithoutAnEnd) {
    const std::string text = "  " + state_of("c") + "\n";
    EXPECT_EQ(error(), "waiting");
    EXPECT_TRUE(connection->silent());
    for (std::size_t i = 0; i + 2 < text.size(); ++i) { // up to the last bracket
        ASSERT_TRUE(send_with(runtime.get(), text.substr(i, 1),
                              i == 0 ? std::vector{first.fd()} : std::vector<int>()));
        ASSERT_EQ(error(), "waiting") << i;
        EXPECT_FALSE(connection->silent());
    }
    ASSERT_TRUE(send_with(runtime.get(), text.substr(text.size() - 2), {}));
    EXPECT_EQ(error(), "taken");
}

TEST_F(HandOverTest, NothingSentIsToldFromSomethingMissing) {
    runtime.reset();
    const auto received = connection->receive();
    ASSERT_TRUE(received);
    EXPECT_TRUE(std::holds_alternative<RuntimeConnection::Closed>(*received));
}

TEST_F(HandOverTest, ThatEndsInTheMiddleIsRefused) {
    ASSERT_TRUE(send_with(runtime.get(), R"({"fds":["seccompFd"])", {first.fd()}));
    EXPECT_EQ(error(), "waiting");
    runtime.reset();
    EXPECT_EQ(error(), "the connection ended in the middle of the state");
    EXPECT_TRUE(all_closed());
}

TEST_F(HandOverTest, DescriptorsMustBeAsManyAsNames) {
    ASSERT_TRUE(send_with(runtime.get(), state_of("c"), {first.fd(), second.fd()}));
    EXPECT_EQ(error(), "the state names 1 descriptors, and 2 came");
    EXPECT_TRUE(all_closed());
}

TEST_F(HandOverTest, WithoutDescriptorsItIsRefused) {
    ASSERT_TRUE(send_with(runtime.get(), state_of("c"), {}));
    EXPECT_EQ(error(), "the state names 1 descriptors, and 0 came");
}

TEST_F(HandOverTest, DescriptorsMustComeFirst) {
    const std::string text = state_of("c", R"(["seccompFd","pidFd"])");
    ASSERT_TRUE(send_with(runtime.get(), text.substr(0, 10), {first.fd()}));
    EXPECT_EQ(error(), "waiting");
    ASSERT_TRUE(send_with(runtime.get(), text.substr(10), {second.fd()}));
    EXPECT_EQ(error(), "descriptors came behind the first bytes");
    EXPECT_TRUE(all_closed());
}

TEST_F(HandOverTest, MoreDescriptorsThanFitAreRefusedAltogether) {
    ASSERT_TRUE(send_with(runtime.get(), state_of("c"), std::vector<int>(64, first.fd())));
    EXPECT_EQ(error(), "more than 8 descriptors came, or more than may be open here");
    EXPECT_TRUE(all_closed());
}

TEST_F(HandOverTest, WhatIsNoStateIsRefused) {
    ASSERT_TRUE(send_with(runtime.get(), "GET / HTTP/1.1\r\n", {first.fd()}));
    EXPECT_EQ(error(), "what was sent is not a JSON object");
    EXPECT_TRUE(all_closed());
}

TEST_F(HandOverTest, WhatStandsBehindTheStateIsRefused) {
    ASSERT_TRUE(send_with(runtime.get(), state_of("c") + state_of("d"), {first.fd()}));
    EXPECT_NE(error().find("cannot be read"), std::string::npos);
    EXPECT_TRUE(all_closed());
}

TEST_F(HandOverTest, StateThatIsTooLargeIsRefusedBeforeItsEnd) {
    ASSERT_TRUE(send_with(runtime.get(), "{", {first.fd()}));
    const std::string space(4096, ' ');
    std::string last;
    for (std::size_t sent = 0; sent <= max_oci_state && last != "gone"; sent += space.size()) {
        ASSERT_TRUE(send_with(runtime.get(), space, {}));
        last = error();
    }
    EXPECT_EQ(last, "the state is larger than 65536 bytes");
    EXPECT_TRUE(all_closed());
}

} // namespace
} // namespace kmodguard::process
