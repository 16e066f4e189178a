// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows that packets are found in a stream however it is cut, and that no stream makes the decoder keep or
// skip more than its limits.
#include "gdb/remote_packet.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace kmodguard::gdb {
namespace {

using Kind = Received::Kind;
using sys::ErrorKind;

struct Decoded {
    std::vector<Received> items;
    std::string error;
};

/// Decodes `stream` in pieces of `size` bytes.
Decoded decode(std::string_view stream, std::size_t size = std::string_view::npos) {
    Decoded decoded;
    PacketDecoder decoder;
    while (!stream.empty()) {
        std::string_view piece = stream.substr(0, size);
        stream.remove_prefix(piece.size());
        while (!piece.empty()) {
            auto item = decoder.take(piece);
            if (!item) {
                EXPECT_EQ(item.error().kind, ErrorKind::invalid);
                decoded.error = item.error().what;
                return decoded;
            }
            if (*item) decoded.items.push_back(**item);
        }
    }
    return decoded;
}

Received packet(std::string payload) {
    return {.kind = Kind::packet, .payload = std::move(payload)};
}

/// `payload` as it is, with the checksum that belongs to it.
std::string framed(std::string_view payload) {
    unsigned sum = 0;
    for (const char byte : payload)
        sum += static_cast<unsigned char>(byte);
    return fmt::format("${}#{:02x}", payload, sum & 0xffU);
}

TEST(RemotePacket, EncodesAsTheManualShows) {
    EXPECT_EQ(encode_packet("OK"), "$OK#9a");
    EXPECT_EQ(encode_packet(""), "$#00");
    EXPECT_EQ(encode_packet("a$b#c}d*e"), framed("a}\x04"
                                                 "b}\x03"
                                                 "c}]d}\ne"));
}

TEST(RemotePacket, DecodesWhatItEncodes) {
    std::string all;
    for (int byte = 0; byte < 256; ++byte)
        all += static_cast<char>(byte);
    EXPECT_EQ(decode(encode_packet(all)).items, std::vector{packet(all)});
}

TEST(RemotePacket, FindsPacketsHoweverTheStreamIsCut) {
    const std::string stream = "+$OK#9a-+" + encode_packet("T05thread:p01.01;") + "+$E14#aa$}]#da";
    const std::vector<Received> expected{
        {Kind::acknowledged},        packet("OK"),         {Kind::refused}, {Kind::acknowledged},
        packet("T05thread:p01.01;"), {Kind::acknowledged}, packet("E14"),   packet("}")};
    for (std::size_t size = 1; size <= stream.size(); ++size) {
        const auto decoded = decode(stream, size);
        EXPECT_EQ(decoded.items, expected) << "in pieces of " << size;
        EXPECT_EQ(decoded.error, "");
    }
}

TEST(RemotePacket, ExpandsRunLengths) {
    EXPECT_EQ(decode(framed("0* ")).items, std::vector{packet("0000")});
    EXPECT_EQ(decode(framed("x*~y")).items, std::vector{packet(std::string(98, 'x') + "y")});
    EXPECT_EQ(decode(framed("}\x04* ")).items, std::vector{packet("$$$$")})
        << "what is repeated may be escaped";
}

TEST(RemotePacket, ImpossibleRunLengthIsAnError) {
    for (const char* payload : {"* ", "0*\x1f", "0*\x7f", "0*\x80", "0*"})
        EXPECT_NE(decode(framed(payload)).error, "") << payload;
    EXPECT_NE(decode(framed("0}")).error, "");
}

TEST(RemotePacket, WrongChecksumIsDamaged) {
    for (const char* stream : {"$OK#9b", "$OK#zz", "$OK#  ", "$0*#00", "$OK##9"})
        EXPECT_EQ(decode(stream).items, std::vector{Received{Kind::damaged}}) << stream;
    EXPECT_EQ(decode("$OK#9b$OK#9A").items, (std::vector{Received{Kind::damaged}, packet("OK")}));
}

TEST(RemotePacket, UnfinishedPacketIsNothingYet) {
    for (const char* stream : {"$", "$OK", "$OK#", "$OK#9"}) {
        const auto decoded = decode(stream);
        EXPECT_TRUE(decoded.items.empty() && decoded.error.empty()) << stream;
    }
}

TEST(RemotePacket, PacketThatIsBrokenOffIsSkipped) {
    EXPECT_EQ(decode("$brok$OK#9a").items, std::vector{packet("OK")});
    std::string stream;
    while (stream.size() <= 2 * max_junk)
        stream += "$broken off";
    EXPECT_NE(decode(stream).error, "");
}

TEST(RemotePacket, SkipsJunkBetweenPacketsUpToALimit) {
    const std::string junk(max_junk, 'x');
    EXPECT_EQ(decode(junk + "$OK#9a" + junk + "$OK#9a").items, (std::vector{packet("OK"), packet("OK")}));
    EXPECT_NE(decode(junk + "x").error, "");
    EXPECT_NE(decode(junk + "+++x").error, "") << "acknowledgements do not make junk better";
}

TEST(RemotePacket, PayloadHasALimitAlsoWhenItIsExpanded) {
    const std::string longest(max_payload, 'x');
    EXPECT_EQ(decode(framed(longest)).items, std::vector{packet(longest)});
    EXPECT_NE(decode("$" + longest + "x").error, "") << "without waiting for its end";
    std::string runs = "x";
    for (std::size_t expanded = 1; expanded <= max_payload; expanded += 97)
        runs += "*~";
    EXPECT_NE(decode("$" + runs).error, "");
}

TEST(Hex, ReadsExactlyWhatItIsToFill) {
    std::array<std::byte, 2> bytes{};
    EXPECT_TRUE(from_hex("0aFf", bytes));
    EXPECT_EQ(to_hex(bytes), "0aff");
    for (const char* digits : {"", "0aff0", "0af", "0aff00", "0axx", "-1ff", "0x0a", " aff"})
        EXPECT_FALSE(from_hex(digits, bytes)) << digits;
}

TEST(Hex, ParsesNumbersOfUpToSixteenDigits) {
    EXPECT_EQ(parse_hex("0"), 0U);
    EXPECT_EQ(parse_hex("ffffffffffffffff"), ~std::uint64_t{0});
    for (const char* digits : {"", "00000000000000000", "x", "-1", "+1", "0x1", "1 ", " 1"})
        EXPECT_FALSE(parse_hex(digits)) << digits;
}

} // namespace
} // namespace kmodguard::gdb
