// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows that a module's image is identified by fetching only the pieces that tell what it is, and that the
// result is the same as with the whole of it in hand, whatever is wrong with it.
#include "enforce/guest/guest_image.hpp"
#include "modules/elf_builder.hpp"
#include "modules/image.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

namespace kmodguard::guest {
namespace {

using kmodguard::test::Bytes;
using sys::ErrorKind;

constexpr std::size_t max_rounds = 64;

/// A module with code of so many bytes before what names it, and half as many behind.
Bytes module_with_code(std::size_t size) {
    auto spec = kmodguard::test::module_spec("dummy");
    spec.section(".text").content.assign(size, '\x90');
    spec.sections.push_back({.name = ".data", .content = std::string(size / 2, 'd')});
    return kmodguard::test::build(spec);
}

struct Identified {
    sys::Result<modules::ImageIdentity> identity;
    std::uint64_t fetched = 0;
    std::size_t rounds = 0;
};

/// Identifies the image that `bytes` are by fetching what is missing, of `size` bytes as its owner says.
Identified identify(const Bytes& bytes, const modules::ImageOptions& options = {}) {
    SparseImage image(bytes.size());
    std::uint64_t fetched = 0;
    for (std::size_t round = 1; round <= max_rounds; ++round) {
        auto identity = modules::identify_source(image, options);
        const auto missing = image.missing();
        if (identity || !missing) return {std::move(identity), fetched, round};
        EXPECT_LE(missing->offset + missing->size, bytes.size()) << "only what is there is asked for";
        if (missing->offset + missing->size > bytes.size()) break;
        fetched += missing->size;
        const auto from = bytes.begin() + static_cast<std::ptrdiff_t>(missing->offset);
        image.add(missing->offset, Bytes(from, from + static_cast<std::ptrdiff_t>(missing->size)));
    }
    return {sys::failure(ErrorKind::failed, "it never ends"), fetched, max_rounds};
}

Bytes numbered(std::size_t size, std::size_t from = 0) {
    Bytes bytes(size);
    for (std::size_t i = 0; i < size; ++i)
        bytes[i] = static_cast<std::byte>((from + i) % 251);
    return bytes;
}

TEST(SparseImage, IsIdentifiedByAFewOfItsBytes) {
    const auto done = identify(module_with_code(1U << 20U));
    ASSERT_TRUE(done.identity);
    EXPECT_EQ(done.identity->facts.problem, "");
    EXPECT_EQ(done.identity->facts.name, "dummy");
    EXPECT_EQ(done.identity->facts.modinfo_name, "dummy");
    EXPECT_LT(done.fetched, 8192U) << "of more than a mebibyte";
    EXPECT_LT(done.rounds, 10U);
}

TEST(SparseImage, OfAnyClassAndByteOrderIsIdentified) {
    for (const bool is_64_bit : {true, false})
        for (const auto order : {std::endian::little, std::endian::big}) {
            const auto done =
                identify(kmodguard::test::build(kmodguard::test::module_spec("dummy", is_64_bit, order)));
            ASSERT_TRUE(done.identity);
            EXPECT_EQ(done.identity->facts.name, "dummy");
            EXPECT_EQ(done.identity->facts.problem, "");
        }
}

TEST(SparseImage, IsFetchedWholeForItsHash) {
    const Bytes image = module_with_code(300'000);
    const auto done = identify(image, {.with_hash = true});
    ASSERT_TRUE(done.identity);
    EXPECT_EQ(done.identity->facts.sha256, modules::identify_image(image, {.with_hash = true}).facts.sha256);
    EXPECT_TRUE(done.identity->facts.sha256);
    EXPECT_GE(done.fetched, image.size());
    EXPECT_LT(done.fetched, image.size() + 16384) << "and little of it twice";
}

TEST(SparseImage, WhereverItIsCutOffIsTheProblemThatItIsAsAWhole) {
    const Bytes image = module_with_code(4096);
    for (std::size_t size = 0; size < image.size(); size += 97) {
        const Bytes cut(image.begin(), image.begin() + static_cast<std::ptrdiff_t>(size));
        const auto done = identify(cut);
        ASSERT_TRUE(done.identity) << size;
        EXPECT_NE(done.identity->facts.problem, "") << size;
        EXPECT_EQ(done.identity->facts.problem, modules::identify_image(cut).facts.problem) << size;
    }
}

TEST(SparseImage, OfSectionsBeyondItsEndIsAProblemAndNothingIsFetchedForThem) {
    auto spec = kmodguard::test::module_spec("dummy");
    spec.section(".modinfo").offset = 1ULL << 40U;
    const Bytes image = kmodguard::test::build(spec);
    const auto done = identify(image);
    ASSERT_TRUE(done.identity);
    EXPECT_NE(done.identity->facts.problem, "");
    EXPECT_LE(done.fetched, 2 * image.size());
}

TEST(SparseImage, SaysWhichPieceIsMissingAndGivesItWhenItIsThere) {
    SparseImage image(10'000);
    Bytes into(700);
    const auto read = image.read(2000, into);
    ASSERT_FALSE(read);
    EXPECT_EQ(read.error().kind, ErrorKind::failed);
    ASSERT_TRUE(image.missing());
    EXPECT_EQ(image.missing()->offset, 2000U);
    EXPECT_EQ(image.missing()->size, 700U);
    image.add(2000, numbered(700, 2000));
    ASSERT_TRUE(image.read(2000, into));
    EXPECT_EQ(into, numbered(700, 2000));
    EXPECT_FALSE(image.missing()) << "nothing is any more";
}

TEST(SparseImage, AsksForMoreThanAFewBytesAtOnceButNotBeyondItsEnd) {
    SparseImage image(1000);
    Bytes into(16);
    ASSERT_FALSE(image.read(100, into));
    EXPECT_EQ(image.missing()->size, 512U);
    ASSERT_FALSE(image.read(900, into));
    EXPECT_EQ(image.missing()->size, 100U);
    image.add(900, numbered(100, 900));
    ASSERT_TRUE(image.read(984, into)) << "to the very end";
    EXPECT_EQ(into, numbered(16, 984));
}

TEST(SparseImage, BeyondItsEndIsInvalidAndNotMissing) {
    SparseImage image(1000);
    Bytes into(16);
    for (const std::uint64_t offset :
         {std::uint64_t{985}, std::uint64_t{1000}, std::uint64_t{1001}, ~std::uint64_t{0}}) {
        ASSERT_FALSE(image.read(0, into));
        const auto read = image.read(offset, into);
        ASSERT_FALSE(read) << offset;
        EXPECT_EQ(read.error().kind, ErrorKind::invalid) << offset;
        EXPECT_FALSE(image.missing()) << "what an earlier read lacked is not asked for again";
    }
    EXPECT_TRUE(image.read(1000, {})) << "nothing is always there";
    EXPECT_EQ(image.read(1001, {}).error().kind, ErrorKind::invalid);
}

TEST(SparseImage, PiecesMayOverlap) {
    SparseImage image(2000);
    image.add(0, numbered(600));
    image.add(500, numbered(600, 500));
    image.add(100, numbered(50, 100)); // within the first
    Bytes into(550);
    ASSERT_TRUE(image.read(520, into));
    EXPECT_EQ(into, numbered(550, 520));
    Bytes across(300);
    ASSERT_FALSE(image.read(450, across)) << "no one piece has it";
    image.add(image.missing()->offset, numbered(image.missing()->size, image.missing()->offset));
    ASSERT_TRUE(image.read(450, across));
    EXPECT_EQ(across, numbered(300, 450));
}

TEST(SparseImage, PieceThatWasTooShortIsReplacedByALongerOne) {
    SparseImage image(2000);
    image.add(0, numbered(16));
    Bytes into(64);
    ASSERT_FALSE(image.read(0, into));
    image.add(image.missing()->offset, numbered(image.missing()->size));
    ASSERT_TRUE(image.read(0, into));
    EXPECT_EQ(into, numbered(64));
}

} // namespace
} // namespace kmodguard::guest
