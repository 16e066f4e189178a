// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows that a tag is SipHash-2-4 with 128 bits, as whoever computes it elsewhere will: by the vectors of the
// reference implementation (github.com/veorq/SipHash, vectors.h; OpenSSL's own test has the same ones), and
// by a plain reading of the paper for what is longer.
#include "modules/hash.hpp"
#include "random.hpp"

#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cstring>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace kmodguard::modules {
namespace {

/// Of the first 0 to 63 bytes of 00 01 02 ... under the key 00 01 ... 0f.
constexpr std::array<std::string_view, 64> reference = {
    "a3817f04ba25a8e66df67214c7550293", "da87c1d86b99af44347659119b22fc45",
    "8177228da4a45dc7fca38bdef60affe4", "9c70b60c5267a94e5f33b6b02985ed51",
    "f88164c12d9c8faf7d0f6e7c7bcd5579", "1368875980776f8854527a07690e9627",
    "14eeca338b208613485ea0308fd7a15e", "a1f1ebbed8dbc153c0b84aa61ff08239",
    "3b62a9ba6258f5610f83e264f31497b4", "264499060ad9baabc47f8b02bb6d71ed",
    "00110dc378146956c95447d3f3d0fbba", "0151c568386b6677a2b4dc6f81e5dc18",
    "d626b266905ef35882634df68532c125", "9869e247e9c08b10d029934fc4b952f7",
    "31fcefac66d7de9c7ec7485fe4494902", "5493e99933b0a8117e08ec0f97cfc3d9",
    "6ee2a4ca67b054bbfd3315bf85230577", "473d06e8738db89854c066c47ae47740",
    "a426e5e423bf4885294da481feaef723", "78017731cf65fab074d5208952512eb1",
    "9e25fc833f2290733e9344a5e83839eb", "568e495abe525a218a2214cd3e071d12",
    "4a29b54552d16b9a469c10528eff0aae", "c9d184ddd5a9f5e0cf8ce29a9abf691c",
    "2db479ae78bd50d8882a8a178a6132ad", "8ece5f042d5e447b5051b9eacb8d8f6f",
    "9c0b53b4b3c307e87eaee08678141f66", "abf248af69a6eae4bfd3eb2f129eeb94",
    "0664da1668574b88b935f3027358aef4", "aa4b9dc4bf337de90cd4fd3c467c6ab7",
    "ea5c7f471faf6bde2b1ad7d4686d2287", "2939b0183223fafc1723de4f52c43d35",
    "7c3956ca5eeafc3e363e9d556546eb68", "77c6077146f01c32b6b69d5f4ea9ffcf",
    "37a6986cb8847edf0925f0f1309b54de", "a705f0e69da9a8f907241a2e923c8cc8",
    "3dc47d1f29c448461e9e76ed904f6711", "0d62bf01e6fc0e1a0d3c4751c5d3692b",
    "8c03468bca7c669ee4fd5e084bbee7b5", "528a5bb93baf2c9c4473cce5d0d22bd9",
    "df6a301e95c95dad97ae0cc8c6913bd8", "801189902c857f39e73591285e70b6db",
    "e617346ac9c231bb3650ae34ccca0c5b", "27d93437efb721aa401821dcec5adf89",
    "89237d9ded9c5e78d8b1c9b166cc7342", "4a6d8091bf5e7d651189fa94a250b14c",
    "0e33f96055e7ae893ffc0e3dcf492902", "e61c432b720b19d18ec8d84bdc63151b",
    "f7e5aef549f782cf379055a608269b16", "438d030fd0b7a54fa837f2ad201a6403",
    "a590d3ee4fbf04e3247e0d27f286423f", "5fe2c1a172fe93c4b15cd37caef9f538",
    "2c97325cbd06b36eb2133dd08b3a017c", "92c814227a6bca949ff0659f002ad39e",
    "dce850110bd8328cfbd50841d6911d87", "67f14984c7da791248e32bb5922583da",
    "1938f2cf72d54ee97e94166fa91d2a36", "74481e9646ed49fe0f6224301604698e",
    "57fca5de98a9d6d8006438d0583d8a1d", "9fecde1cefdc1cbed4763674d9575359",
    "e3040c00eb28f15366ca73cbd872e740", "7697009a6a831dfecca91c5993670f7a",
    "5853542321f567a005d547a4f04759bd", "5150d1772f50834a503e069a973fbd7c",
};

ContentKey reference_key() {
    ContentKey key;
    for (std::size_t i = 0; i < key.bytes.size(); ++i)
        key.bytes.at(i) = static_cast<std::uint8_t>(i);
    return key;
}

std::string to_hex(const std::array<std::uint8_t, 16>& digest) {
    std::string hex;
    for (const std::uint8_t byte : digest)
        hex += {"0123456789abcdef"[byte / 16], "0123456789abcdef"[byte % 16]};
    return hex;
}

/// Aumasson and Bernstein, "SipHash: a fast short-input PRF", with the 128-bit output of its reference code.
class PlainSipHash {
  public:
    explicit PlainSipHash(const ContentKey& key) {
        const std::uint64_t k0 = word(key.bytes.data(), 8);
        const std::uint64_t k1 = word(key.bytes.data() + 8, 8);
        v_ = {k0 ^ 0x736f6d6570736575, k1 ^ 0x646f72616e646f6d ^ 0xee, k0 ^ 0x6c7967656e657261,
              k1 ^ 0x7465646279746573};
    }
    std::array<std::uint8_t, 16> of(const std::vector<std::byte>& bytes) {
        const auto* data = reinterpret_cast<const std::uint8_t*>(bytes.data());
        std::size_t at = 0;
        for (; bytes.size() - at >= 8; at += 8)
            absorb(word(data + at, 8));
        absorb(word(data + at, bytes.size() - at) | static_cast<std::uint64_t>(bytes.size()) << 56U);
        std::array<std::uint8_t, 16> digest{};
        v_[2] ^= 0xee;
        give(digest.data());
        v_[1] ^= 0xdd;
        give(digest.data() + 8);
        return digest;
    }

  private:
    static std::uint64_t word(const std::uint8_t* bytes, std::size_t count) {
        std::uint64_t value = 0;
        for (std::size_t i = 0; i < count; ++i)
            value |= static_cast<std::uint64_t>(bytes[i]) << (8 * i);
        return value;
    }
    void mix(std::size_t a, std::size_t b, int turn, bool swap) {
        v_.at(a) += v_.at(b);
        v_.at(b) = std::rotl(v_.at(b), turn) ^ v_.at(a);
        if (swap) v_.at(a) = std::rotl(v_.at(a), 32);
    }
    void rounds(int count) {
        for (int i = 0; i < count; ++i) {
            mix(0, 1, 13, true);
            mix(2, 3, 16, false);
            mix(0, 3, 21, false);
            mix(2, 1, 17, true);
        }
    }
    void absorb(std::uint64_t value) {
        v_[3] ^= value;
        rounds(2);
        v_[0] ^= value;
    }
    void give(std::uint8_t* into) {
        rounds(4);
        const std::uint64_t value = v_[0] ^ v_[1] ^ v_[2] ^ v_[3];
        for (std::size_t i = 0; i < 8; ++i)
            into[i] = static_cast<std::uint8_t>(value >> (8 * i));
    }

    std::array<std::uint64_t, 4> v_{};
};

TEST(ContentTag, IsWhatTheReferenceImplementationGives) {
    std::vector<std::byte> bytes;
    for (const std::string_view expected : reference) {
        const auto tag = tag_of(bytes, reference_key());
        ASSERT_TRUE(tag) << tag.error().what;
        EXPECT_EQ(to_hex(tag->digest), expected) << bytes.size() << " bytes";
        EXPECT_EQ(tag->size, bytes.size());
        bytes.push_back(static_cast<std::byte>(bytes.size()));
    }
}

TEST(ContentTag, OfLongContentIsWhatThePaperSays) {
    test::Random random(20261121, 4);
    const std::vector<std::size_t> sizes = {255, 256, 4096, 70001};
    while (random.next_round()) {
        const std::size_t size = sizes[static_cast<std::size_t>(random.round()) % sizes.size()];
        ContentKey key;
        for (std::uint8_t& byte : key.bytes)
            byte = static_cast<std::uint8_t>(random.below(256));
        std::vector<std::byte> bytes(size);
        for (std::byte& byte : bytes)
            byte = static_cast<std::byte>(random.below(256));
        EXPECT_EQ(to_hex(tag_of(bytes, key).value().digest), to_hex(PlainSipHash(key).of(bytes))) << size;
    }
}

TEST(ContentTag, DiffersWithEveryBitOfContentAndKey) {
    std::vector<std::byte> bytes(40);
    ContentKey key = reference_key();
    std::set<ContentTag> tags{tag_of(bytes, key).value()};
    for (std::byte& byte : bytes) {
        byte ^= std::byte{1};
        EXPECT_TRUE(tags.insert(tag_of(bytes, key).value()).second);
        byte ^= std::byte{1};
    }
    for (std::uint8_t& byte : key.bytes) {
        byte ^= 0x80;
        EXPECT_TRUE(tags.insert(tag_of(bytes, key).value()).second);
        byte ^= 0x80;
    }
    bytes.emplace_back();
    EXPECT_TRUE(tags.insert(tag_of(bytes, key).value()).second) << "one zero more";
}

TEST(ContentKey, IsAnotherEachTime) {
    std::set<std::array<std::uint8_t, 16>> keys;
    std::array<std::set<std::uint8_t>, 16> seen;
    for (int i = 0; i < 64; ++i) {
        const auto key = ContentKey::random();
        ASSERT_TRUE(key) << key.error().what;
        EXPECT_TRUE(keys.insert(key->bytes).second);
        for (std::size_t at = 0; at < seen.size(); ++at)
            seen.at(at).insert(key->bytes.at(at));
    }
    for (const auto& values : seen)
        EXPECT_GT(values.size(), 16U) << "no byte of it stays as it is";
}

} // namespace
} // namespace kmodguard::modules
