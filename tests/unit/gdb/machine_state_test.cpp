// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows how registers and memory of a stopped machine are read and written, with stubs that know registers by
// number and with those that do not, and what is asked of the stub for that.
#include "fake_stub.hpp"
#include "gdb/remote_packet.hpp"

#include <gtest/gtest.h>

#include <algorithm>

namespace kmodguard::gdb {
namespace {

using sys::ErrorKind;
using test::FakeStub;
using test::first;
using test::kind_of;
using test::read_register;
using test::write_register;
using Commands = std::vector<std::string>;
using Values = std::vector<std::uint64_t>;

constexpr ThreadId second{1, 2};
constexpr Register wide{.number = 3, .offset = 24, .size = 8};
constexpr Register narrow{.number = 5, .offset = 20, .size = 4};

void fill(FakeStub& stub) {
    for (std::size_t i = 0; i < stub.registers.size(); ++i)
        stub.registers.at(i) = static_cast<std::byte>(i);
}

TEST(Registers, AreAskedForByNumberWhereTheStubDescribesThem) {
    FakeStub stub;
    fill(stub);
    auto debugger = stub.connected();
    EXPECT_EQ(read_register(debugger, first, wide), 0x1f1e1d1c1b1a1918U);
    ASSERT_TRUE(write_register(debugger, first, wide, 0x1122334455667788));
    EXPECT_EQ(read_register(debugger, first, wide), 0x1122334455667788U);
    EXPECT_EQ(stub.commands(), (Commands{"Hgp1.1", "p3", "P3=8877665544332211", "p3"}));
}

TEST(Registers, AreTakenFromThePacketOfAllWhereItDoesNot) {
    FakeStub stub(false);
    fill(stub);
    auto debugger = stub.connected();
    EXPECT_EQ(read_register(debugger, first, narrow), 0x17161514U);
    const auto before = stub.registers;
    ASSERT_TRUE(write_register(debugger, first, narrow, 0xffffffff80001234));
    EXPECT_EQ(read_register(debugger, first, narrow), 0x80001234U);
    auto expected = before;
    std::ranges::copy(std::array{std::byte{0x34}, std::byte{0x12}, std::byte{0x00}, std::byte{0x80}},
                      expected.begin() + 20);
    EXPECT_EQ(stub.registers, expected) << "no other register changes";
}

TEST(Registers, SeveralCostOneExchangeWhereAllComeTogether) {
    FakeStub stub(false);
    fill(stub);
    auto debugger = stub.connected();
    const std::vector<Register> wanted{narrow, wide, narrow};
    EXPECT_EQ(debugger.read_registers(first, wanted), (Values{0x17161514, 0x1f1e1d1c1b1a1918, 0x17161514}));
    EXPECT_EQ(stub.commands(), (Commands{"Hgp1.1", "g"}));
    stub.forget_commands();
    const std::vector<RegisterValue> values{{narrow, 1}, {wide, 2}};
    ASSERT_TRUE(debugger.write_registers(first, values));
    EXPECT_EQ(stub.commands().size(), 2U) << "one to read, one to write";
    EXPECT_EQ(debugger.read_registers(first, wanted), (Values{1, 2, 1}));
}

TEST(Registers, AreReversedOnABigEndianMachine) {
    for (const bool described : {true, false}) {
        FakeStub stub(described);
        fill(stub);
        auto debugger = stub.connected();
        debugger.set_byte_order(std::endian::big);
        EXPECT_EQ(read_register(debugger, first, wide), 0x18191a1b1c1d1e1fU);
        ASSERT_TRUE(write_register(debugger, first, wide, 0x1122334455667788));
        EXPECT_EQ(read_register(debugger, first, wide), 0x1122334455667788U);
        EXPECT_EQ(to_hex(std::span(stub.registers).subspan(24, 8)), "1122334455667788");
    }
}

TEST(Registers, ThatTheStubDoesNotHaveAreNotFound) {
    FakeStub described;
    described.answer("p3", "E14");
    auto debugger = described.connected();
    EXPECT_EQ(kind_of(read_register(debugger, first, wide)), ErrorKind::not_found);
    FakeStub stub(false);
    auto other = stub.connected();
    const Register outside{.number = 99, .offset = 316, .size = 8};
    EXPECT_EQ(kind_of(read_register(other, first, outside)), ErrorKind::not_found);
    EXPECT_EQ(kind_of(write_register(other, first, outside, 1)), ErrorKind::not_found);
}

TEST(Registers, OfAnotherSizeThanWantedOrNoNumberAreInvalid) {
    FakeStub stub;
    auto debugger = stub.connected();
    for (const char* answer : {"00", "000000000000000000", "xxxxxxxxxxxxxxxx", "OK"}) {
        stub.answer("p3", answer);
        EXPECT_EQ(kind_of(read_register(debugger, first, wide)), ErrorKind::invalid) << answer;
    }
    EXPECT_EQ(kind_of(read_register(debugger, first, {.number = 3, .offset = 0, .size = 9})),
              ErrorKind::invalid);
    EXPECT_EQ(kind_of(read_register(debugger, first, {.number = 3, .offset = 0, .size = 0})),
              ErrorKind::invalid);
    EXPECT_TRUE(read_register(debugger, first, {.number = 4, .offset = 0, .size = 8}))
        << "it goes on working";
    FakeStub all(false);
    all.answer("g", "000");
    auto other = all.connected();
    EXPECT_EQ(kind_of(read_register(other, first, narrow)), ErrorKind::invalid);
}

TEST(Threads, AreListed) {
    FakeStub stub;
    auto debugger = stub.connected();
    EXPECT_EQ(debugger.threads(), (std::vector<ThreadId>{first, second}));
    stub.answer("qfThreadInfo", "mp1.1,p1.2,p1.3");
    stub.answer("qsThreadInfo", "l");
    EXPECT_EQ(debugger.threads()->size(), 3U);
}

TEST(Threads, ListThatIsMalformedOrEndlessIsInvalid) {
    FakeStub stub;
    auto debugger = stub.connected();
    for (const char* answer : {"m", "mp1", "mp1.1,", "x", "OK", "mp1.1"}) {
        stub.answer("qfThreadInfo", answer);
        stub.answer("qsThreadInfo", answer);
        EXPECT_EQ(kind_of(debugger.threads()), ErrorKind::invalid) << answer;
    }
}

TEST(Threads, AreSelectedOnlyWhenAnotherIsMeant) {
    FakeStub stub;
    auto debugger = stub.connected();
    std::array<std::byte, 4> bytes{};
    ASSERT_TRUE(read_register(debugger, first, wide));
    ASSERT_TRUE(debugger.read_memory(first, 0x1000, bytes));
    ASSERT_TRUE(debugger.read_memory(second, 0x1000, bytes));
    ASSERT_TRUE(write_register(debugger, second, wide, 0));
    ASSERT_TRUE(debugger.step(second));
    ASSERT_TRUE(debugger.read_memory(second, 0x1000, bytes));
    EXPECT_EQ(stub.commands(), (Commands{"Hgp1.1", "p3", "m1000,4", "Hgp1.2", "m1000,4",
                                         "P3=0000000000000000", "vCont;s:p1.2", "Hgp1.2", "m1000,4"}))
        << "a stop may select another one";
}

TEST(Threads, ThatDoNotExistAreNotFound) {
    FakeStub stub;
    stub.answer("Hgp1.9", "E22");
    auto debugger = stub.connected();
    EXPECT_EQ(kind_of(read_register(debugger, {1, 9}, wide)), ErrorKind::not_found);
    EXPECT_TRUE(read_register(debugger, first, wide));
}

TEST(Memory, IsReadInPiecesThatTheStubTakes) {
    FakeStub stub;
    auto debugger = stub.connected();
    std::vector<std::byte> bytes(0x1801);
    ASSERT_TRUE(debugger.read_memory(first, 0x1010, bytes));
    EXPECT_EQ(stub.commands(), (Commands{"Hgp1.1", "m1010,800", "m1810,800", "m2010,800", "m2810,1"}));
    EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), stub.memory.begin() + 0x10));
}

TEST(Memory, IsWrittenInPiecesThatTheStubTakes) {
    FakeStub stub;
    auto debugger = stub.connected();
    const std::vector<std::byte> bytes(5000, std::byte{0xab});
    ASSERT_TRUE(debugger.write_memory(first, 0x1010, bytes));
    for (const std::string& command : stub.commands())
        EXPECT_LT(command.size(), 0x1000U);
    EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), stub.memory.begin() + 0x10));
    const FakeStub untouched;
    EXPECT_TRUE(std::equal(stub.memory.begin(), stub.memory.begin() + 0x10, untouched.memory.begin()));
    EXPECT_TRUE(std::equal(stub.memory.begin() + 0x10 + 5000, stub.memory.end(),
                           untouched.memory.begin() + 0x10 + 5000));
}

TEST(Memory, NothingIsReadWithoutAsking) {
    FakeStub stub;
    auto debugger = stub.connected();
    EXPECT_TRUE(debugger.read_memory(first, 0, {}));
    EXPECT_TRUE(debugger.write_memory(first, 0, {}));
    EXPECT_EQ(stub.commands(), Commands{"Hgp1.1"});
}

TEST(Memory, ThatIsNotMappedIsNotFoundAndNamed) {
    FakeStub stub;
    auto debugger = stub.connected();
    std::vector<std::byte> bytes(0x1000);
    const auto read =
        debugger.read_memory(first, FakeStub::memory_start + FakeStub::memory_size - 0x800, bytes);
    EXPECT_EQ(kind_of(read), ErrorKind::not_found);
    EXPECT_EQ(read.error().what, "the stub: cannot read 2048 bytes at 0x11000");
    const auto written = debugger.write_memory(first, 0xffff800000000000, std::span(bytes).first(1));
    EXPECT_EQ(kind_of(written), ErrorKind::not_found);
    EXPECT_EQ(written.error().what, "the stub: cannot write 1 bytes at 0xffff800000000000");
    stub.answer("m1000,4", "0102");
    EXPECT_EQ(kind_of(debugger.read_memory(first, 0x1000, std::span(bytes).first(4))), ErrorKind::not_found)
        << "a stub may answer with the part that it can read";
}

TEST(Memory, ThatIsNoNumbersOrTooMuchIsInvalid) {
    FakeStub stub;
    auto debugger = stub.connected();
    std::array<std::byte, 4> bytes{};
    for (const char* answer : {"0102030405", "0102030x", "T05thread:p01.01;"}) {
        stub.answer("m1000,4", answer);
        EXPECT_EQ(kind_of(debugger.read_memory(first, 0x1000, bytes)), ErrorKind::invalid) << answer;
    }
    stub.answer("M1000,4:00000000", "yes");
    EXPECT_EQ(kind_of(debugger.write_memory(first, 0x1000, std::array<std::byte, 4>{})), ErrorKind::invalid);
}

TEST(Monitor, OutputIsPutTogether) {
    FakeStub stub;
    stub.answer_raw("qRcmd,696e666f",
                    "+" + encode_packet("O6f6e65") + encode_packet("O2074776f") + encode_packet("OK"));
    auto debugger = stub.connected();
    EXPECT_EQ(debugger.monitor("info"), "one two");
    stub.answer("qRcmd,696e666f", "6f6e65");
    EXPECT_EQ(debugger.monitor("info"), "one");
    EXPECT_TRUE(debugger.threads()) << "nothing is left behind";
}

TEST(Monitor, NonsenseAndTooMuchAreInvalid) {
    FakeStub stub;
    auto debugger = stub.connected();
    for (const char* answer : {"", "O4", "Oxx", "T05"}) {
        stub.answer("qRcmd,78", answer);
        EXPECT_EQ(kind_of(debugger.monitor("x")), ErrorKind::invalid) << answer;
    }
    std::string flood = "+";
    for (std::size_t size = 0; size <= max_monitor_output; size += 30000)
        flood += encode_packet("O" + std::string(60000, '3'));
    stub.answer_raw("qRcmd,78", flood);
    EXPECT_EQ(kind_of(debugger.monitor("x")), ErrorKind::invalid);
}

} // namespace
} // namespace kmodguard::gdb
