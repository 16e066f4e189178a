// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows what somebody meets who connects to a stub: one that works, none, one that is taken, one that talks
// nonsense.
#include "fake_stub.hpp"
#include "gdb/remote_packet.hpp"
#include "sys/unix_socket.hpp"
#include "temporary_directory.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <chrono>
#include <future>

namespace kmodguard::gdb {
namespace {

using namespace std::chrono_literals;
using sys::ErrorKind;
using test::FakeStub;
using test::is_running;
using Commands = std::vector<std::string>;

TEST(Connect, StopsTheMachineClearsBreakpointsAndLearnsItsRegisters) {
    FakeStub stub;
    auto debugger = stub.connect();
    ASSERT_TRUE(debugger) << debugger.error().what;
    EXPECT_FALSE(is_running(*debugger));
    EXPECT_EQ(debugger->find_register("r1"), (Register{.number = 1, .offset = 0, .size = 8}));
    EXPECT_EQ(debugger->find_register("r2"), std::nullopt);
    EXPECT_EQ(stub.commands(),
              (Commands{"qSupported:multiprocess+;vContSupported+", "?",
                        "qXfer:features:read:target.xml:0,800", "qXfer:features:read:core.xml:0,800"}));
}

TEST(Connect, MachineWithoutADescriptionHasNoNamedRegisters) {
    FakeStub stub(false);
    const auto debugger = stub.connect();
    ASSERT_TRUE(debugger) << debugger.error().what;
    EXPECT_EQ(debugger->find_register("r1"), std::nullopt);
}

TEST(Connect, RunningMachineTellsOfItsStopBeforeItIsAsked) {
    FakeStub stub;
    stub.send(encode_packet("T02thread:01;"));
    auto debugger = stub.connect();
    ASSERT_TRUE(debugger) << debugger.error().what;
    ASSERT_TRUE(debugger->detach());
    EXPECT_EQ(stub.commands().back(), "D;1")
        << "its process is of the answer to our question, not of what came before";
}

TEST(Connect, PacketThatAPredecessorBrokeOffCostsARepeat) {
    FakeStub stub;
    const std::string offer = "qSupported:multiprocess+;vContSupported+";
    stub.answer_once_raw(offer, "-"); // the predecessor's half and ours together have a wrong checksum
    const auto debugger = stub.connect();
    ASSERT_TRUE(debugger) << debugger.error().what;
}

TEST(Connect, LongDescriptionComesInParts) {
    FakeStub stub;
    const std::string part = "<target>" + std::string(2000, ' ');
    stub.answer("qXfer:features:read:target.xml:0,800", "m" + part);
    stub.answer("qXfer:features:read:target.xml:7d8,800", R"(m<reg name="late" )");
    stub.answer("qXfer:features:read:target.xml:7e9,800", R"(lbitsize="64" regnum="7"/></target>)");
    const auto debugger = stub.connect();
    ASSERT_TRUE(debugger) << debugger.error().what;
    EXPECT_EQ(debugger->find_register("late")->number, 7);
}

TEST(Connect, NobodyThereIsUnreachableAndSaysHowToStart) {
    const kmodguard::test::TemporaryDirectory directory;
    const auto debugger = Client::connect(directory / "gdb.sock", 60s);
    ASSERT_FALSE(debugger);
    EXPECT_EQ(debugger.error().kind, ErrorKind::unreachable);
    EXPECT_TRUE(debugger.error().hint.find("-gdb unix:") != std::string::npos) << debugger.error().hint;
}

/// Two wait for their turn. The one with little time gives up while the other still waits.
TEST(Connect, TakenStubIsUnreachableAfterTheTimeout) {
    const kmodguard::test::TemporaryDirectory directory;
    auto listening = sys::listen_unix(directory / "gdb.sock", 0600, 2); // accepts one, and answers none
    ASSERT_TRUE(listening);
    ::fcntl(listening->get(), F_SETFL, 0); // accept() shall wait
    auto patient =
        std::async(std::launch::async, [&] { return Client::connect(directory / "gdb.sock", 60s); });
    sys::UniqueFd taken(::accept4(listening->get(), nullptr, nullptr, SOCK_CLOEXEC));
    char byte = 0;
    ASSERT_EQ(::recv(taken.get(), &byte, 1, MSG_PEEK), 1);
    const auto debugger = Client::connect(directory / "gdb.sock", 50ms);
    ASSERT_FALSE(debugger);
    EXPECT_EQ(debugger.error().kind, ErrorKind::unreachable);
    EXPECT_EQ(debugger.error().hint, "another debugger may be connected: a stub serves one at a time");
    EXPECT_EQ(patient.wait_for(0s), std::future_status::timeout) << "its time is not up";
    ::shutdown(taken.get(), SHUT_RDWR);
    const auto hung_up = patient.get();
    ASSERT_FALSE(hung_up);
    EXPECT_TRUE(hung_up.error().what.ends_with("the emulator has hung up")) << hung_up.error().what;
}

TEST(Connect, StubThatHangsUpIsUnreachable) {
    FakeStub stub;
    stub.hang_up();
    const auto debugger = stub.connect();
    ASSERT_FALSE(debugger);
    EXPECT_EQ(debugger.error().kind, ErrorKind::unreachable);
    EXPECT_EQ(debugger.error().what, "the stub: the emulator has hung up");
}

struct Nonsense {
    std::string command;
    std::string answer;
};

class ConnectNonsense : public ::testing::TestWithParam<Nonsense> {};

TEST_P(ConnectNonsense, IsInvalid) {
    FakeStub stub;
    stub.answer(GetParam().command, GetParam().answer);
    const auto debugger = stub.connect();
    ASSERT_FALSE(debugger);
    EXPECT_EQ(debugger.error().kind, ErrorKind::invalid) << debugger.error().what;
}

constexpr const char* features = "qSupported:multiprocess+;vContSupported+";
constexpr const char* target = "qXfer:features:read:target.xml:0,800";
constexpr const char* core = "qXfer:features:read:core.xml:0,800";

INSTANTIATE_TEST_SUITE_P(
    Answers, ConnectNonsense,
    ::testing::Values(Nonsense{features, ""}, Nonsense{features, "PacketSize=;vContSupported+"},
                      Nonsense{features, "PacketSize=10;vContSupported+"},
                      Nonsense{features, "vContSupported+"}, Nonsense{features, "PacketSize=1000"},
                      Nonsense{features, "PacketSize=1000;vContSupported-"}, Nonsense{"?", "OK"},
                      Nonsense{"?", "O48"}, Nonsense{target, ""}, Nonsense{target, "m"},
                      Nonsense{target, "x<target/>"}, Nonsense{target, "l<reg/>"},
                      Nonsense{target, R"(l<xi:include href="../x"/>)"}, Nonsense{core, "l<!--"},
                      Nonsense{core, R"(l<xi:include href="core.xml"/>)"}));

TEST(Connect, HugePacketSizeIsCutToWhatIsTaken) {
    FakeStub stub(false);
    stub.answer(features, "PacketSize=ffffffffffffffff;vContSupported+");
    auto debugger = stub.connect();
    ASSERT_TRUE(debugger) << debugger.error().what;
    std::vector<std::byte> bytes(100000);
    stub.forget_commands();
    EXPECT_FALSE(debugger->read_memory({1, 1}, 0x1000, bytes));
    EXPECT_EQ(stub.commands(), (Commands{"Hgp1.1", "m1000,8000"}));
}

TEST(Connect, EndlessDescriptionIsInvalid) {
    FakeStub stub;
    const std::string part = "m" + std::string(max_payload - 1, ' ');
    for (std::size_t offset = 0; offset <= 2 * max_description; offset += max_payload - 1)
        stub.answer(fmt::format("qXfer:features:read:target.xml:{:x},800", offset), part);
    const auto debugger = stub.connect();
    ASSERT_FALSE(debugger);
    EXPECT_EQ(debugger.error().kind, ErrorKind::invalid) << debugger.error().what;
    EXPECT_LE(stub.commands().size(), 2 + max_description / (max_payload - 1) + 1) << "and given up in time";
}

} // namespace
} // namespace kmodguard::gdb
