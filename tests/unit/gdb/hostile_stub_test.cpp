// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows that no stub, however broken or malicious, makes a debugger wait for ever, grow, or take one
// command's answer for another's.
#include "fake_stub.hpp"
#include "gdb/remote_packet.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <future>
#include <utility>

namespace kmodguard::gdb {
namespace {

using namespace std::chrono_literals;
using sys::ErrorKind;
using test::FakeStub;
using test::first;
using test::is_running;
using test::kind_of;
using test::read_register;

constexpr Register r3{.number = 3, .offset = 24, .size = 8};

/// What reading register 3 ends with if the stub sends these bytes for it. By the default it is not the time
/// that ends it.
ErrorKind read_with(std::string bytes, std::chrono::milliseconds timeout = 60s) {
    FakeStub stub;
    stub.answer_raw("p3", std::move(bytes));
    auto debugger = stub.connected();
    debugger.set_answer_timeout(timeout);
    return kind_of(read_register(debugger, first, r3));
}

std::string repeated(std::string_view part, std::size_t count) {
    std::string all;
    for (std::size_t i = 0; i < count; ++i)
        all += part;
    return all;
}

/// Two debuggers meet the same silence. The one with little time gives up, while the other still waits, and
/// then gets the rest of its answer.
TEST(HostileStub, SilenceEndsAtTheDeadline) {
    const std::string whole = "+" + encode_packet("0011223300112233");
    for (const std::string_view beginning : {"", "+", "+$0011"}) {
        FakeStub stub;
        stub.answer_raw("p3", std::string(beginning));
        auto patient = stub.connected();
        auto value = std::async(std::launch::async, [&] { return read_register(patient, first, r3); });
        stub.wait_for_answer_to("p3");
        EXPECT_EQ(read_with(std::string(beginning), 50ms), ErrorKind::unreachable);
        EXPECT_EQ(value.wait_for(0s), std::future_status::timeout) << "its time is not up";
        stub.send(std::string_view(whole).substr(beginning.size()));
        EXPECT_EQ(value.get(), 0x3322110033221100U) << beginning;
    }
}

TEST(HostileStub, LateAnswerIsNotTakenForTheNextOne) {
    FakeStub stub;
    stub.answer_raw("p3", "+");
    auto debugger = stub.connected();
    debugger.set_answer_timeout(50ms);
    EXPECT_EQ(kind_of(read_register(debugger, first, r3)), ErrorKind::unreachable);
    stub.send(encode_packet("1111111111111111"));
    EXPECT_EQ(kind_of(read_register(debugger, first, {.number = 4, .offset = 32, .size = 8})),
              ErrorKind::unreachable);
}

TEST(HostileStub, WhatComesBeforeTheAcknowledgementIsNoAnswer) {
    FakeStub stub;
    const std::string answer = encode_packet("2222222222222222");
    const std::string stray = encode_packet("1111111111111111");
    stub.answer_raw("p3", stray + stray + "$damaged#00+" + answer);
    auto debugger = stub.connected();
    EXPECT_EQ(read_register(debugger, first, r3), 0x2222222222222222U);
}

TEST(HostileStub, DamagedAnswerIsAskedForAgain) {
    FakeStub stub;
    stub.answer_raw("p3", "+$damaged#00" + encode_packet("1111111111111111"));
    auto debugger = stub.connected();
    EXPECT_EQ(read_register(debugger, first, r3), 0x1111111111111111U);
    EXPECT_TRUE(debugger.threads());
}

TEST(HostileStub, DamageWithoutEndIsInvalid) {
    EXPECT_EQ(read_with("+" + repeated("$x#00", 10)), ErrorKind::invalid);
}

TEST(HostileStub, StubThatRefusesEveryPacketIsInvalid) {
    EXPECT_EQ(read_with("-"), ErrorKind::invalid);
}

TEST(HostileStub, GarbageIsInvalid) {
    EXPECT_EQ(read_with(std::string(max_junk + 1, 'x')), ErrorKind::invalid);
    EXPECT_EQ(read_with("+$0*\x1f#79"), ErrorKind::invalid);
    EXPECT_EQ(read_with("+" + encode_packet("garbage")), ErrorKind::invalid);
}

TEST(HostileStub, EndlessPacketIsInvalid) {
    EXPECT_EQ(read_with("+$" + std::string(max_payload + 1, '0')), ErrorKind::invalid);
    EXPECT_EQ(read_with("+$0" + repeated("*~", max_payload / 97 + 1)), ErrorKind::invalid);
}

TEST(HostileStub, EndlessAcknowledgementsAndPacketsAreInvalid) {
    EXPECT_EQ(read_with(repeated("+", 1000)), ErrorKind::invalid);
    EXPECT_EQ(read_with(repeated(encode_packet("T05"), 1000)), ErrorKind::invalid);
}

TEST(HostileStub, OutputWithoutEndIsNoStop) {
    FakeStub stub;
    auto debugger = stub.connected();
    stub.answer_raw("vCont;c", "+" + repeated(encode_packet("O41"), 10000));
    ASSERT_TRUE(debugger.resume());
    EXPECT_EQ(kind_of(debugger.wait_stop(60s)), ErrorKind::invalid);
}

TEST(HostileStub, NonsenseInPlaceOfAStopIsInvalidAndTheMachineCountsAsRunning) {
    FakeStub stub;
    auto debugger = stub.connected();
    stub.answer("vCont;c", "T05thread:nobody;");
    ASSERT_TRUE(debugger.resume());
    EXPECT_EQ(kind_of(debugger.wait_stop(60s)), ErrorKind::invalid);
    EXPECT_TRUE(is_running(debugger));
}

TEST(HostileStub, StubThatReadsNothingEndsAtTheDeadline) {
    std::array<int, 2> ends{};
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
    const sys::UniqueFd silent(ends[0]);
    RemoteConnection connection(sys::UniqueFd(ends[1]), "the stub");
    const std::string huge(8U << 20U, 'x'); // more than a socket holds
    const auto sent = connection.send(huge, std::chrono::steady_clock::now() + 50ms);
    ASSERT_FALSE(sent);
    EXPECT_EQ(sent.error().kind, ErrorKind::unreachable);
    EXPECT_EQ(sent.error().what, "the stub: the stub takes nothing more");
    const auto again = connection.send("g", std::chrono::steady_clock::now() + 60s);
    ASSERT_FALSE(again);
    EXPECT_EQ(again.error().what, "the stub: the connection was lost before");
}

TEST(HostileStub, TextsOfErrorsHoldNoneOfItsBytes) {
    FakeStub stub;
    stub.answer("p3", "\x1b[31mE");
    auto debugger = stub.connected();
    const auto value = read_register(debugger, first, r3);
    ASSERT_FALSE(value);
    EXPECT_EQ(value.error().what.find('\x1b'), std::string::npos);
}

} // namespace
} // namespace kmodguard::gdb
