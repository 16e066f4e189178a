// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows that an image is asked for its aliases once for as long as its file stays what it is, also by the
// next start, and again when it is another.
#include "compiled/remembered_images.hpp"
#include "sys/file.hpp"
#include "temporary_directory.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace kmodguard::compiled {
namespace {

using Names = std::vector<std::string>;

/// Says of an image that its one alias is the text of the file; "broken" has a problem.
class CountingReader final : public ImageReader {
  public:
    sys::Result<Read> read(const std::filesystem::path& image, const Wanted& wanted) override {
        ++reads;
        const auto text = sys::read_file(image, 100);
        if (!text) return std::unexpected(text.error());
        const auto file = sys::file_identity(image);
        if (!file) return std::unexpected(file.error());
        Read read{.file = *file, .facts = {.problem = {}, .name = "inner", .modinfo_name = "given"}};
        if (*text == "broken") read.facts.problem = "it is broken";
        if (wanted.aliases) read.facts.aliases = Names{*text};
        return read;
    }
    int reads = 0;
};

class RememberedImagesTest : public ::testing::Test {
  protected:
    /// Another text is one of another length, so that the state is another whatever the clock says.
    std::filesystem::path image(const std::string& name, const std::string& text) {
        const auto path = directory.path() / (name + ".ko");
        std::filesystem::remove(path);
        directory.write(name + ".ko", text);
        return path;
    }
    static Names aliases_of(RememberedImages& images, const std::filesystem::path& image) {
        const auto read = images.read(image, {.aliases = true});
        return read && read->facts.aliases ? *read->facts.aliases : Names{"unread"};
    }

    test::TemporaryDirectory directory;
    std::filesystem::path kept = directory.path() / "kept";
    CountingReader reader;
};

TEST_F(RememberedImagesTest, AsksAnImageOnce) {
    RememberedImages images(reader, kept);
    const auto path = image("a", "pci:1");
    EXPECT_FALSE(images.knows_aliases(path));
    EXPECT_EQ(aliases_of(images, path), Names{"pci:1"});
    EXPECT_TRUE(images.knows_aliases(path));
    EXPECT_EQ(aliases_of(images, path), Names{"pci:1"});
    EXPECT_EQ(reader.reads, 1);
}

TEST_F(RememberedImagesTest, AsksAgainWhenTheFileIsAnother) {
    RememberedImages images(reader, kept);
    EXPECT_EQ(aliases_of(images, image("a", "pci:1")), Names{"pci:1"});
    const auto path = image("a", "pci:22");
    EXPECT_FALSE(images.knows_aliases(path));
    EXPECT_EQ(aliases_of(images, path), Names{"pci:22"});
    ASSERT_TRUE(images.keep());
    EXPECT_EQ(aliases_of(images, image("a", "pci:333")), Names{"pci:333"});
}

TEST_F(RememberedImagesTest, TheNextStartAsksNone) {
    const auto a = image("a", "pci:1");
    const auto b = image("b", "usb:2");
    {
        RememberedImages images(reader, kept);
        static_cast<void>(aliases_of(images, b));
        ASSERT_TRUE(images.keep());
        static_cast<void>(aliases_of(images, a));
        ASSERT_TRUE(images.keep()) << "with what was kept before";
    }
    RememberedImages images(reader, kept);
    EXPECT_EQ(aliases_of(images, a), Names{"pci:1"});
    EXPECT_EQ(aliases_of(images, b), Names{"usb:2"});
    const auto read = images.read(b, {.aliases = true});
    EXPECT_EQ(read->facts.name, "inner");
    EXPECT_EQ(read->facts.modinfo_name, "given");
    EXPECT_EQ(read->file, *sys::file_identity(b));
    EXPECT_EQ(reader.reads, 2);
}

TEST_F(RememberedImagesTest, KeepsNothingOfFilesThatAreGoneOrOthers) {
    const auto a = image("a", "pci:1");
    const auto b = image("b", "usb:2");
    {
        RememberedImages images(reader, kept);
        static_cast<void>(aliases_of(images, a));
        static_cast<void>(aliases_of(images, b));
        ASSERT_TRUE(images.keep());
    }
    const auto whole = std::filesystem::file_size(kept);
    std::filesystem::remove(b);
    {
        RememberedImages images(reader, kept);
        static_cast<void>(aliases_of(images, image("a", "pci:22")));
        ASSERT_TRUE(images.keep());
    }
    EXPECT_LT(std::filesystem::file_size(kept), whole);
    RememberedImages images(reader, kept);
    EXPECT_EQ(aliases_of(images, a), Names{"pci:22"});
    EXPECT_EQ(reader.reads, 3);
}

TEST_F(RememberedImagesTest, WhatIsBrokenIsAskedEachTime) {
    RememberedImages images(reader, kept);
    const auto path = image("a", "broken");
    static_cast<void>(aliases_of(images, path));
    EXPECT_FALSE(images.knows_aliases(path));
    static_cast<void>(aliases_of(images, path));
    EXPECT_EQ(reader.reads, 2);
    ASSERT_TRUE(images.keep());
    EXPECT_FALSE(std::filesystem::exists(kept)) << "there is nothing to keep";
}

TEST_F(RememberedImagesTest, MoreThanAliasesIsReadEachTime) {
    RememberedImages images(reader, kept);
    const auto path = image("a", "pci:1");
    static_cast<void>(aliases_of(images, path));
    for (const ImageReader::Wanted& wanted :
         {ImageReader::Wanted{.hash = true, .aliases = true}, {.aliases = true, .is_signed = true}, {}})
        EXPECT_TRUE(images.read(path, wanted));
    EXPECT_EQ(reader.reads, 4);
}

/// Whoever can write that file could have a denied alias forgotten.
TEST_F(RememberedImagesTest, WhatOthersMayHaveWrittenOrIsDamagedIsNotUsed) {
    const auto path = image("a", "pci:1");
    {
        RememberedImages images(reader, kept);
        static_cast<void>(aliases_of(images, path));
        ASSERT_TRUE(images.keep());
    }
    std::filesystem::permissions(kept, std::filesystem::perms::group_write,
                                 std::filesystem::perm_options::add);
    EXPECT_FALSE(RememberedImages(reader, kept).knows_aliases(path));
    std::filesystem::permissions(kept, std::filesystem::perms::group_write,
                                 std::filesystem::perm_options::remove);
    EXPECT_TRUE(RememberedImages(reader, kept).knows_aliases(path));
    auto bytes = sys::read_file(kept, 1U << 20U);
    ASSERT_TRUE(bytes);
    bytes->back() = static_cast<char>(bytes->back() ^ 1);
    directory.write("kept", *bytes);
    EXPECT_FALSE(RememberedImages(reader, kept).knows_aliases(path));
}

TEST_F(RememberedImagesTest, WithoutAPlaceToKeepItRemembersAllTheSame) {
    RememberedImages images(reader, directory.path() / "a.ko" / "kept");
    const auto path = image("a", "pci:1");
    static_cast<void>(aliases_of(images, path));
    EXPECT_FALSE(images.keep());
    EXPECT_TRUE(images.knows_aliases(path));
}

} // namespace
} // namespace kmodguard::compiled
