// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows where the image and its length are found in a struct load_info of old and of new kernels, and that
// what has no known layout is not guessed at.
#include "enforce/guest/guest_image.hpp"

#include <gtest/gtest.h>

#include <array>

namespace kmodguard::guest {
namespace {

using InfoWords = std::array<std::uint64_t, load_info_words>;

constexpr std::uint64_t kernel_64 = 0xffff'0000'0000'0000;
constexpr std::uint64_t kernel_32 = 0x8000'0000;
constexpr std::uint64_t image_64 = 0xffff'8880'0123'4000;
constexpr std::uint64_t image_32 = 0xf012'3000;
constexpr std::uint64_t user = 0x7fff'0123'4000;

/// The layouts there have been; the last word of the older ones belongs to something else.
InfoWords new_layout(std::uint64_t image, std::uint64_t size) {
    return {0, 0, image, size}; // name, mod, hdr, len
}
InfoWords layout_of_4_18(std::uint64_t image, std::uint64_t size) {
    return {0, image, size, 0}; // name, hdr, len
}
InfoWords old_layout(std::uint64_t image, std::uint64_t size) {
    return {image, size, 0, 0}; // hdr, len
}

struct InfoLayout {
    InfoWords (*words)(std::uint64_t image, std::uint64_t size);
    std::uint64_t member; ///< which word has the length
};
constexpr std::array layouts = {InfoLayout{new_layout, 3}, InfoLayout{layout_of_4_18, 2},
                                InfoLayout{old_layout, 1}};

void expect_found(const InfoWords& words, std::uint8_t word, std::uint64_t kernel_base, std::uint64_t image,
                  std::uint64_t size, std::uint64_t member) {
    const auto info = load_info_from(words, word, kernel_base);
    ASSERT_TRUE(info);
    EXPECT_EQ(info->image, image);
    EXPECT_EQ(info->size, size);
    EXPECT_EQ(info->size_member, member * word);
}

TEST(LoadInfo, IsFoundInEveryLayoutWithWordsOfEightBytes) {
    for (const InfoLayout& layout : layouts)
        expect_found(layout.words(image_64, 12345), 8, kernel_64, image_64, 12345, layout.member);
}

TEST(LoadInfo, IsFoundInEveryLayoutWithWordsOfFourBytes) {
    for (const InfoLayout& layout : layouts)
        expect_found(layout.words(image_32, 12345), 4, kernel_32, image_32, 12345, layout.member);
}

TEST(LoadInfo, OfAnOldKernelMayHaveAnythingBehindTheLength) {
    for (const std::uint64_t rest : {std::uint64_t{1}, image_64, user, ~std::uint64_t{0}})
        expect_found({image_64, 12345, rest, rest}, 8, kernel_64, image_64, 12345, 1);
}

TEST(LoadInfo, OfAnEmptyImageIsFound) {
    for (const InfoLayout& layout : layouts)
        expect_found(layout.words(image_64, 0), 8, kernel_64, image_64, 0, layout.member);
}

TEST(LoadInfo, LowestAddressOfTheKernelIsOneAndTheOneBelowIsNot) {
    for (const InfoLayout& layout : layouts) {
        EXPECT_TRUE(load_info_from(layout.words(kernel_64, 100), 8, kernel_64)) << layout.member;
        EXPECT_FALSE(load_info_from(layout.words(kernel_64 - 1, 100), 8, kernel_64)) << layout.member;
    }
}

TEST(LoadInfo, WithAnImageOfAProcessIsUnknown) {
    for (const InfoLayout& layout : layouts) {
        EXPECT_FALSE(load_info_from(layout.words(user, 100), 8, kernel_64)) << layout.member;
        EXPECT_FALSE(load_info_from(layout.words(0x10000, 100), 4, kernel_32)) << layout.member;
    }
}

TEST(LoadInfo, WithALengthThatNoKernelTakesIsUnknown) {
    for (const InfoLayout& layout : layouts) {
        EXPECT_TRUE(load_info_from(layout.words(image_64, 0x7fff'ffff), 8, kernel_64)) << layout.member;
        for (const std::uint64_t size : {std::uint64_t{1} << 31U, image_64, ~std::uint64_t{0}})
            EXPECT_FALSE(load_info_from(layout.words(image_64, size), 8, kernel_64))
                << layout.member << " " << size;
    }
}

TEST(LoadInfo, ThatIsAllZeroOrHasNoImageIsUnknown) {
    for (const InfoWords& words :
         {InfoWords{}, InfoWords{0, 0, 0, 100}, InfoWords{0, 0, 100, 0}, InfoWords{100, 0, 0, 0}}) {
        EXPECT_FALSE(load_info_from(words, 8, kernel_64));
        EXPECT_FALSE(load_info_from(words, 4, kernel_32));
    }
}

TEST(LoadInfo, WhoseMembersAreTheWrongWayRoundIsUnknown) {
    EXPECT_FALSE(load_info_from(InfoWords{0, 0, 100, image_64}, 8, kernel_64));
    EXPECT_FALSE(load_info_from(InfoWords{100, image_64, image_64, 0}, 8, kernel_64));
}

} // namespace
} // namespace kmodguard::guest
