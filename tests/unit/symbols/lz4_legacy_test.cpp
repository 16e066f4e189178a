// SPDX-License-Identifier: AGPL-3.0-only
//
// LZ4's legacy frame: literals, matches that repeat themselves, and blocks that lie.
#include "modules/image_packing.hpp"
#include "symbols/kernel_image.hpp"

#include <gtest/gtest.h>

#include <string>

namespace kmodguard::symbols {
namespace {

using test::Bytes;
using test::joined;
using test::octets;
using test::to_bytes;

constexpr std::uint64_t no_limit = 1U << 30U;

Bytes frame(const std::vector<Bytes>& blocks) {
    auto packed = octets({0x02, 0x21, 0x4C, 0x18});
    for (const auto& block : blocks) {
        const auto size = static_cast<unsigned>(block.size());
        packed =
            joined(joined(packed, octets({size & 0xFFU, size >> 8U & 0xFFU, size >> 16U & 0xFFU, 0})), block);
    }
    return packed;
}

std::string content_of(const Bytes& packed, std::uint64_t limit = no_limit) {
    const auto content = decompress_stream(Codec::lz4, packed, limit);
    if (!content) return content.error().what;
    return {reinterpret_cast<const char*>(content->data()), content->size()};
}

/// What each block ends with, for the format demands that its last five bytes are literals.
const Bytes ending = octets({0x50, 'v', 'w', 'x', 'y', 'z'});

/// "ab", "ab" eight times more by a match, then "vwxyz".
const Bytes repeating = joined(octets({0x2C, 'a', 'b', 2, 0}), ending);

Bytes ended(const Bytes& sequences) {
    return joined(sequences, ending);
}

TEST(Lz4Legacy, LiteralsAndMatches) {
    EXPECT_EQ(content_of(frame({octets({0x30, 'x', 'y', 'z'})})), "xyz");
    EXPECT_EQ(content_of(frame({repeating})), "ababababababababab"
                                              "vwxyz");
}

TEST(Lz4Legacy, LongLengths) {
    auto literals = octets({0xF0, 255, 5}); // 15 + 255 + 5
    literals.resize(literals.size() + 275, std::byte{'l'});
    EXPECT_EQ(content_of(frame({literals})), std::string(275, 'l'));
    const auto match = ended(octets({0x1F, 'a', 1, 0, 255, 0})); // 15 + 255 + 0 + 4
    EXPECT_EQ(content_of(frame({match})), std::string(275, 'a') + "vwxyz");
}

TEST(Lz4Legacy, EndsWhereNoBlockFollows) {
    const auto packed = frame({repeating});
    const auto content = content_of(packed);
    for (const auto& rest : {octets({0x15}), octets({0, 0, 0, 0}), octets({0xFF, 0xFF, 0xFF, 0xFF, 1, 2}),
                             octets({0x11, 0x22, 0x33, 0x01}), Bytes(5000)})
        EXPECT_EQ(content_of(joined(packed, rest)), content);
}

TEST(Lz4Legacy, DamagedBlocks) {
    for (const auto& block : {octets({0x30, 'x', 'y'}),                  // fewer literals than said
                              octets({0xF0, 255}),                       // a length without an end
                              octets({0x10, 'a', 0, 0, 0x10, 'b'}),      // a match at no distance
                              ended(octets({0x10, 'a', 2, 0})),          // from before the beginning
                              octets({0x10, 'a', 1}),                    // half a distance
                              octets({0x10, 'a', 1, 0}),                 // ends with a match
                              octets({0x1F, 'a', 1, 0, 255, 255, 255})}) // a length without an end
        EXPECT_EQ(content_of(frame({block})), "LZ4: damaged");
    for (const auto& packed : {Bytes{}, octets({0x02, 0x21, 0x4C, 0x18}),
                               octets({0x02, 0x21, 0x4C, 0x18, 9, 0, 0, 0}), frame({Bytes{}})})
        EXPECT_EQ(content_of(packed), "LZ4: cut off, or empty");
}

TEST(Lz4Legacy, IsBounded) {
    EXPECT_EQ(content_of(frame({repeating}), 22), "LZ4: content exceeds 22 bytes");
    auto bomb = octets({0x1F, 'a', 1, 0});
    bomb.resize(bomb.size() + 40'000, std::byte{255}); // more than the eight MiB of a block
    EXPECT_EQ(content_of(frame({ended(joined(bomb, octets({0})))})), "LZ4: damaged");
}

} // namespace
} // namespace kmodguard::symbols
