// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows what is kept of unpacked images, and for how long: no more than there is room for, nothing that only
// people asked about, and nothing while memory is short.
#include "compiled/unpacked_images.hpp"
#include "temporary_directory.hpp"

#include <gtest/gtest.h>

namespace kmodguard::compiled {
namespace {

using Purpose = UnpackedImages::Purpose;

class UnpackedImagesTest : public ::testing::Test {
  protected:
    static constexpr std::size_t page = 4096;

    void keep(const std::string& module, std::size_t pages = 1, const std::string& state = "state") {
        const core::ImageFacts facts{
            .problem = {}, .name = module, .modinfo_name = {}, .sha256 = core::Sha256{7}, .state = state};
        images.keep(module, "/lib/" + module + ".ko.xz", facts, "name of " + module,
                    sys::sealed_image_file("image", std::string(pages * page, 'x')));
    }
    bool has(const std::string& module) { return images.find(module, "state") != nullptr; }

    test::TemporaryDirectory root;
    UnpackedImages images{sys::Paths(root.path()), {.bytes = 4 * page, .images = 3}};
};

TEST_F(UnpackedImagesTest, KeepsTheLastOneOfAFileInTheStateInWhichItWasRead) {
    keep("kmt_a");
    EXPECT_TRUE(has("kmt_a"));
    EXPECT_EQ(images.find("kmt_a", "another state"), nullptr);
    EXPECT_EQ(images.find("kmt_a", ""), nullptr);
    keep("kmt_a", 2, "another state");
    EXPECT_FALSE(has("kmt_a"));
    EXPECT_TRUE(images.find("kmt_a", "another state"));
    EXPECT_EQ(images.bytes(), 2 * page);
}

TEST_F(UnpackedImagesTest, WhatWasUsedLeastRecentlyMakesRoom) {
    keep("kmt_a");
    keep("kmt_b");
    EXPECT_TRUE(has("kmt_a"));
    keep("kmt_c", 3);
    EXPECT_TRUE(has("kmt_a"));
    EXPECT_FALSE(has("kmt_b"));
    EXPECT_EQ(images.bytes(), 4 * page);
    keep("kmt_d", 5);
    EXPECT_FALSE(has("kmt_d")) << "larger than all the room";
    EXPECT_TRUE(has("kmt_a"));
    keep("kmt_e");
    keep("kmt_f");
    keep("kmt_g");
    EXPECT_TRUE(has("kmt_e") && has("kmt_f") && has("kmt_g"));
    EXPECT_FALSE(has("kmt_a")) << "more than three";
}

TEST_F(UnpackedImagesTest, WhatWasHandedOverStaysWithWhoHasIt) {
    keep("kmt_a");
    const auto handle = images.find("kmt_a", "state");
    keep("kmt_b", 4);
    EXPECT_FALSE(has("kmt_a"));
    ASSERT_TRUE(handle);
    EXPECT_TRUE(handle->file);
}

TEST_F(UnpackedImagesTest, OriginIsKnownOfWhatWasHandedOver) {
    keep("kmt_a");
    EXPECT_FALSE(images.origin_of("name of kmt_a")) << "nobody has it";
    EXPECT_TRUE(has("kmt_a"));
    keep("kmt_a");
    const auto origin = images.origin_of("name of kmt_a");
    ASSERT_TRUE(origin);
    EXPECT_EQ(origin->file, "/lib/kmt_a.ko.xz");
    EXPECT_EQ(origin->sha256, core::Sha256{7});
    EXPECT_FALSE(images.origin_of("name of kmt_b"));
}

TEST_F(UnpackedImagesTest, IsWantedToBeLoadedAndNotToBeLookedAt) {
    EXPECT_FALSE(images.wanted("kmt_a"));
    {
        const auto scope = images.judging_for(Purpose::request);
        const auto first = images.wanted("kmt_a");
        ASSERT_TRUE(first);
        EXPECT_EQ(first->limit, 4 * page);
        EXPECT_TRUE(first->name.starts_with("kmodguard:kmt_a:")) << first->name;
        EXPECT_NE(images.wanted("kmt_a")->name, first->name) << "no name comes twice";
    }
    EXPECT_FALSE(images.wanted("kmt_a"));
}

TEST_F(UnpackedImagesTest, AheadOfARequestNothingIsPushedOut) {
    const auto scope = images.judging_for(Purpose::ahead);
    keep("kmt_a");
    EXPECT_EQ(images.wanted("kmt_b")->limit, 3 * page);
    keep("kmt_b", 3);
    EXPECT_FALSE(images.wanted("kmt_c"));
    const auto other = images.judging_for(Purpose::request);
    EXPECT_EQ(images.wanted("kmt_c")->limit, 4 * page);
}

TEST_F(UnpackedImagesTest, NothingIsKeptWhileMemoryIsShort) {
    const auto scope = images.judging_for(Purpose::request);
    keep("kmt_a");
    std::filesystem::create_directories(root / "proc/pressure");
    root.write("proc/pressure/memory", "some avg10=9.99 avg60=0.00 avg300=0.00 total=1\nfull avg10=9.00\n");
    images.look_after();
    EXPECT_TRUE(has("kmt_a"));
    EXPECT_TRUE(images.wanted("kmt_b"));
    root.write("proc/pressure/memory", "some avg10=10.00 avg60=0.00 avg300=0.00 total=1\nfull avg10=9.00\n");
    images.look_after();
    EXPECT_FALSE(has("kmt_a"));
    EXPECT_EQ(images.bytes(), 0U);
    EXPECT_FALSE(images.wanted("kmt_b"));
    root.write("proc/pressure/memory", "some avg10=0.00 avg60=9.00 avg300=0.00 total=1\n");
    images.look_after();
    EXPECT_TRUE(images.wanted("kmt_b"));
}

} // namespace
} // namespace kmodguard::compiled
