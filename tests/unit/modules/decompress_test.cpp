// SPDX-License-Identifier: AGPL-3.0-only
//
// Compressed images: told by their magic, one stream from first byte to last, verified, and bounded.
#include "modules/decompress.hpp"
#include "modules/image_packing.hpp"

#include <gtest/gtest.h>

#include <string>
#include <utility>

namespace kmodguard::modules {
namespace {

using test::Bytes;
using test::joined;
using test::octets;
using test::pack;

Bytes sample(std::size_t size) { // neither constant nor incompressible
    Bytes bytes(size);
    for (std::size_t i = 0; i < size; ++i)
        bytes[i] = static_cast<std::byte>((i * i >> 7U) % 61);
    return bytes;
}

Bytes noise(std::size_t size) { // incompressible
    Bytes bytes(size);
    std::uint32_t state = 1;
    for (auto& byte : bytes) {
        state = state * 1664525U + 1013904223U;
        byte = static_cast<std::byte>(state >> 24U);
    }
    return bytes;
}

std::string error_of(const Bytes& packed, std::uint64_t limit = default_image_limit) {
    const auto content = decompress(packed, limit);
    if (content) return "";
    EXPECT_EQ(content.error().kind, sys::ErrorKind::invalid);
    return content.error().what;
}

class Compressed : public testing::TestWithParam<Container> {};

TEST_P(Compressed, ContentComesBack) {
    for (const std::size_t size : {1UZ, 100UZ, 65535UZ, 65536UZ, 65537UZ, 1'000'000UZ}) {
        const auto content = sample(size);
        const auto packed = pack(content, GetParam());
        EXPECT_EQ(container_of(packed), GetParam());
        const auto again = decompress(packed);
        ASSERT_TRUE(again) << again.error().what;
        EXPECT_TRUE(*again == content) << size;
    }
}

TEST_P(Compressed, IsReadPieceByPiece) {
    const auto content = noise(1'000'000);
    const auto packed = pack(content, GetParam());
    ASSERT_GT(packed.size(), 900'000U);
    EXPECT_TRUE(decompress(packed) == content);
    EXPECT_NE(error_of(joined(packed, Bytes(200'000))), "");
    EXPECT_NE(error_of(Bytes(packed.begin(), packed.end() - 100'000)), "");
}

TEST_P(Compressed, StopsAtTheLimit) {
    const auto packed = pack(Bytes(4'000'000), GetParam());
    ASSERT_LT(packed.size(), 40'000U) << "this is to be a small bomb";
    EXPECT_EQ(error_of(packed, 4'000'000), "");
    EXPECT_EQ(error_of(packed, 3'999'999), "uncompressed image exceeds 3999999 bytes");
    EXPECT_EQ(error_of(packed, 1), "uncompressed image exceeds 1 bytes");
    EXPECT_EQ(error_of(packed, 0), "uncompressed image exceeds 0 bytes");
}

TEST_P(Compressed, MustNotBeCutOff) {
    const auto packed = pack(sample(1000), GetParam());
    for (std::size_t size = 6; size < packed.size(); ++size)
        EXPECT_NE(error_of(Bytes(packed.begin(), packed.begin() + static_cast<std::ptrdiff_t>(size))), "")
            << size << " of " << packed.size() << " bytes";
}

TEST_P(Compressed, MustNotBeFollowedByAnything) {
    const auto packed = pack(sample(3000), GetParam());
    EXPECT_NE(error_of(joined(packed, Bytes(1))), "");
    EXPECT_NE(error_of(joined(packed, Bytes(4))), "") << "padding of an xz file, which no kernel knows";
    EXPECT_NE(error_of(joined(packed, test::to_bytes("garbage, and rather much of it"))), "");
    EXPECT_NE(error_of(joined(packed, packed)), "") << "a second stream";
    EXPECT_NE(error_of(joined(packed, pack(sample(10), GetParam()))), "");
    EXPECT_NE(error_of(joined(packed, pack(Bytes(), GetParam()))), "") << "an empty stream";
    EXPECT_EQ(error_of(joined(packed, Bytes(1))),
              std::string(to_string(GetParam())) + ": followed by something else, or a second stream");
}

TEST_P(Compressed, MustBeginWithTheContent) {
    const auto packed = pack(sample(3000), GetParam());
    EXPECT_NE(error_of(joined(pack(Bytes(), GetParam()), packed)), "") << "an empty stream before it";
}

TEST_P(Compressed, MustHoldSomething) {
    EXPECT_NE(error_of(pack(Bytes(), GetParam())), "");
}

TEST_P(Compressed, IsUnpackedOnce) {
    const auto inner = pack(sample(3000), GetParam());
    const auto content = decompress(pack(inner, GetParam()));
    ASSERT_TRUE(content) << content.error().what;
    EXPECT_TRUE(*content == inner);
}

TEST_P(Compressed, DamageNeverChangesTheContent) { // there are bytes that do not count, a time for example
    const auto content = sample(300);
    const auto packed = pack(content, GetParam());
    std::size_t undetected = 0;
    for (std::size_t bit = 0; bit < packed.size() * 8; ++bit) {
        auto damaged = packed;
        damaged[bit / 8] ^= std::byte{1} << bit % 8;
        if (container_of(damaged) == Container::raw) continue;
        const auto result = decompress(damaged);
        if (!result) continue;
        ++undetected;
        EXPECT_TRUE(*result == content) << "bit " << bit;
    }
    EXPECT_LT(undetected, 60U);
}

TEST_P(Compressed, SaysWhatIsWrong) {
    const std::string name(to_string(GetParam()));
    const auto packed = pack(noise(3000), GetParam());
    EXPECT_EQ(error_of(pack(Bytes(), GetParam())), name + ": empty");
    EXPECT_EQ(error_of(Bytes(packed.begin(), packed.end() - 1)), name + ": cut off");
    auto damaged = packed;
    damaged[1500] ^= std::byte{1};
    EXPECT_TRUE(error_of(damaged).starts_with(name + ": ")) << error_of(damaged);
}

class Unreadable final : public ByteSource {
  public:
    explicit Unreadable(Bytes bytes) : bytes_(std::move(bytes)) {}
    [[nodiscard]] std::uint64_t size() const override { return bytes_.size(); }
    [[nodiscard]] sys::Result<void> read(std::uint64_t offset, std::span<std::byte> into) override {
        if (offset + into.size() > 100'000) return sys::failure(sys::ErrorKind::failed, "cannot read it");
        return MemorySource(bytes_).read(offset, into);
    }

  private:
    Bytes bytes_;
};

TEST_P(Compressed, UnreadableIsNotDamaged) {
    Unreadable source(pack(noise(200'000), GetParam()));
    const auto content = decompress(source);
    ASSERT_FALSE(content);
    EXPECT_EQ(content.error().kind, sys::ErrorKind::failed);
    EXPECT_EQ(content.error().what, "cannot read it");
}

INSTANTIATE_TEST_SUITE_P(All, Compressed, testing::Values(Container::gzip, Container::xz, Container::zstd),
                         [](const testing::TestParamInfo<Container>& container) {
                             return std::string(to_string(container.param));
                         });

TEST(Decompress, GivesRawBytesBack) {
    const auto bytes = test::to_bytes("no container at all");
    EXPECT_EQ(container_of(bytes), Container::raw);
    EXPECT_EQ(decompress(bytes).value(), bytes);
    EXPECT_EQ(decompress(Bytes()).value(), Bytes());
    EXPECT_EQ(error_of(bytes, bytes.size()), "");
    EXPECT_EQ(error_of(bytes, bytes.size() - 1), "uncompressed image exceeds 18 bytes");
}

TEST(Decompress, KnowsNoOtherContainer) {
    EXPECT_EQ(container_of(test::to_bytes("BZh91AY&SY")), Container::raw);
    EXPECT_EQ(container_of(test::to_bytes("\x04\x22\x4D\x18")), Container::raw) << "lz4";
    EXPECT_EQ(container_of(test::to_bytes("\xFD"
                                          "7zX")),
              Container::raw)
        << "too short for xz";
    EXPECT_EQ(container_of(test::to_bytes("\x50\x2A\x4D\x18")), Container::raw) << "a skippable zstd frame";
}

TEST(Gzip, ChecksumAndSizeAreVerified) {
    const auto packed = pack(sample(3000), Container::gzip);
    auto damaged = packed;
    damaged[packed.size() - 8] ^= std::byte{1};
    EXPECT_EQ(error_of(damaged), "gzip: incorrect data check");
    damaged = packed;
    damaged[packed.size() - 4] ^= std::byte{1};
    EXPECT_EQ(error_of(damaged), "gzip: incorrect length check");
}

TEST(Gzip, HeaderHoldsAFileNameAtMost) { // of the fields, a kernel skips that one only
    const auto content = sample(3000);
    const auto packed = pack(content, Container::gzip);
    const auto name = octets({'l', 'o', 'o', 'p', 0});
    EXPECT_TRUE(decompress(test::with_gzip_fields(packed, 0x08, name)) == content);
    const std::string refused = "gzip: a header field that kernels take for content";
    // An extra field of 0x500 bytes to zlib; to a kernel a stored block of five bytes, and an empty last one.
    auto extra = octets({0, 5, 0, 0xFA, 0xFF, 'e', 'v', 'i', 'l', '!', 1, 0, 0, 0xFF, 0xFF});
    extra.resize(2 + 0x500);
    EXPECT_EQ(error_of(test::with_gzip_fields(packed, 0x04, extra)), refused) << "extra field";
    EXPECT_EQ(error_of(test::with_gzip_fields(packed, 0x10, name)), refused) << "comment";
    EXPECT_EQ(error_of(test::with_gzip_fields(packed, 0x02, octets({0, 0}))), refused) << "its checksum";
    EXPECT_EQ(error_of(test::with_gzip_fields(packed, 0x01, {})), refused) << "text";
    EXPECT_EQ(error_of(test::with_gzip_fields(packed, 0x80, {})), refused) << "reserved";
}

TEST(Gzip, EndsAtAPieceOfItsOwn) {
    for (const std::size_t size : {65535UZ, 65536UZ, 65537UZ, 131072UZ}) { // pieces of 65536 bytes
        const auto content = sample(3000);
        auto packed = pack(content, Container::gzip);
        auto name = Bytes(size - packed.size(), std::byte{'x'});
        name.back() = std::byte{0};
        packed = test::with_gzip_fields(packed, 0x08, name);
        ASSERT_EQ(packed.size(), size);
        EXPECT_TRUE(decompress(packed) == content);
        EXPECT_NE(error_of(joined(packed, Bytes(1))), "");
        EXPECT_NE(error_of(Bytes(packed.begin(), packed.end() - 1)), "");
    }
}

TEST(Xz, ChecksOfAnyKindAreVerified) {
    const auto content = sample(3000);
    for (const auto check : {LZMA_CHECK_NONE, LZMA_CHECK_CRC32, LZMA_CHECK_CRC64, LZMA_CHECK_SHA256})
        EXPECT_TRUE(decompress(test::pack_xz(content, check)) == content) << check;
    auto packed = test::pack_xz(content, LZMA_CHECK_CRC32);
    for (const auto at : {packed.size() - 5, 7UZ}) // footer and header: another check, without its CRC
        packed[at] ^= std::byte{2};
    EXPECT_EQ(error_of(packed), "xz: damaged");
}

TEST(Xz, DictionaryIsBounded) {
    const auto content = sample(3000);
    const auto packed = pack(content, Container::xz);
    EXPECT_TRUE(decompress(test::with_xz_dictionary(packed, 28)) == content) << "64 MiB";
    for (const unsigned property : {30U, 40U})
        EXPECT_EQ(error_of(test::with_xz_dictionary(packed, property)),
                  "xz: takes more than 128 MiB of memory to decompress");
}

TEST(Zstd, WindowIsBounded) {
    const auto frame = [](unsigned window_log) { // one raw block of one byte
        return octets({0x28, 0xB5, 0x2F, 0xFD, 0, (window_log - 10U) << 3U, 9, 0, 0, 'x'});
    };
    EXPECT_EQ(decompress(frame(27)).value(), test::to_bytes("x"));
    EXPECT_EQ(error_of(frame(28)), "zstd: takes more than 128 MiB of memory to decompress");
    EXPECT_EQ(error_of(frame(41)), "zstd: takes more than 128 MiB of memory to decompress");
}

TEST(Zstd, StatedSizeIsNotBelieved) {
    const auto frame = [](unsigned char third, unsigned char fifth) { // one segment of a size of eight bytes
        return octets({0x28, 0xB5, 0x2F, 0xFD, 0xE0, 0, 0, third, 0, fifth, 0, 0, 0, 9, 0, 0, 'x'});
    };
    EXPECT_NE(error_of(frame(1, 0)), "") << "64 KiB";
    EXPECT_EQ(error_of(frame(0, 1)), "zstd: takes more than 128 MiB of memory to decompress");
}

TEST(Zstd, ChecksumIsVerifiedWhereThereIsOne) {
    const auto content = sample(3000);
    EXPECT_TRUE(decompress(test::pack_zstd(content, false)) == content);
    auto packed = test::pack_zstd(content, true);
    packed.back() ^= std::byte{1};
    EXPECT_EQ(error_of(packed), "zstd: Restored data doesn't match checksum");
}

TEST(Zstd, NeedsNoDictionaryAndSkipsNoFrame) {
    EXPECT_NE(error_of(octets({0x28, 0xB5, 0x2F, 0xFD, 1, 0, 7, 9, 0, 0, 'x'})), "") << "dictionary 7";
    const auto skippable = octets({0x50, 0x2A, 0x4D, 0x18, 1, 0, 0, 0, 'x'});
    EXPECT_NE(error_of(joined(pack(sample(3000), Container::zstd), skippable)), "");
}

} // namespace
} // namespace kmodguard::modules
