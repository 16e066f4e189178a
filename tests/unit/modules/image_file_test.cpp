// SPDX-License-Identifier: AGPL-3.0-only
//
// Images in files: judged by content, whatever the file is called (bypasses 1 and 26).
#include "modules/image.hpp"
#include "modules/image_packing.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>
#include <utility>

namespace kmodguard::modules {
namespace {

using test::Bytes;

class ImageFile : public testing::Test {
  protected:
    void SetUp() override {
        std::string pattern = testing::TempDir() + "kmodguard-image.XXXXXX";
        ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
        directory_ = pattern;
    }
    void TearDown() override { std::filesystem::remove_all(directory_); }

    std::filesystem::path write(const std::string& name, std::span<const std::byte> content) const {
        const auto path = directory_ / name;
        std::ofstream(path, std::ios::binary)
            .write(reinterpret_cast<const char*>(content.data()),
                   static_cast<std::streamsize>(content.size()));
        return path;
    }

    std::filesystem::path directory_;
};

TEST_F(ImageFile, IsIdentifiedByContentWhateverItIsCalled) {
    const auto image = test::build(test::module_spec("evil"));
    for (const auto container : {Container::raw, Container::gzip, Container::xz, Container::zstd}) {
        const auto content = container == Container::raw ? image : test::pack(image, container);
        for (const auto* name : {"dummy.ko", "dummy.ko.xz", "dummy.ko.zst", "dummy.ko.gz", "dummy"}) {
            const auto path = write(name, content);
            const auto found = identify_file(path);
            ASSERT_TRUE(found) << found.error().what;
            EXPECT_EQ(found->identity.facts.problem, "");
            EXPECT_EQ(found->identity.facts.name, "evil");
            EXPECT_EQ(found->container, container);
            EXPECT_EQ(found->file, sys::file_identity(path).value());
        }
    }
}

TEST_F(ImageFile, HashIsThatOfTheUncompressedImage) {
    const auto image = test::build(test::module_spec("loop"));
    const auto expected = identify_image(image, {.with_hash = true}).facts.sha256;
    for (const auto container : {Container::raw, Container::gzip, Container::xz, Container::zstd}) {
        const auto path = write("loop", container == Container::raw ? image : test::pack(image, container));
        const auto found = identify_file(path, {.image = {.with_hash = true}});
        ASSERT_TRUE(found) << found.error().what;
        EXPECT_EQ(found->identity.facts.sha256, expected);
        EXPECT_FALSE(identify_file(path).value().identity.facts.sha256);
    }
}

TEST_F(ImageFile, LargerThanTheLimitHasAProblem) {
    const auto image = test::build(test::module_spec("loop"));
    const auto raw = identify_file(write("raw", image), {.limit = image.size() - 1});
    ASSERT_TRUE(raw);
    EXPECT_NE(raw->identity.facts.problem, "");
    EXPECT_EQ(identify_file(write("raw", image), {.limit = image.size()}).value().identity.facts.problem, "");
    const auto packed =
        identify_file(write("xz", test::pack(image, Container::xz)), {.limit = image.size() - 1});
    ASSERT_TRUE(packed);
    EXPECT_NE(packed->identity.facts.problem, "");
    EXPECT_EQ(packed->identity.facts.name, "");
}

TEST_F(ImageFile, OfGarbageHasAProblem) {
    for (const auto& content : {Bytes{}, Bytes(5),
                                test::to_bytes("\x7f"
                                               "ELF"),
                                test::to_bytes("\x1F\x8B"),
                                test::to_bytes("\xFD"
                                               "7zXZ\0 and then nothing of xz")}) {
        const auto found = identify_file(write("garbage", content));
        ASSERT_TRUE(found) << found.error().what;
        EXPECT_NE(found->identity.facts.problem, "");
    }
}

TEST_F(ImageFile, MustBeARegularFile) {
    EXPECT_EQ(identify_file(directory_ / "missing").error().kind, sys::ErrorKind::not_found);
    EXPECT_FALSE(identify_file(directory_));
    ASSERT_EQ(::mkfifo((directory_ / "fifo").c_str(), 0600), 0);
    EXPECT_FALSE(identify_file(directory_ / "fifo")) << "and it must not be waited for";
    int ends[2];
    ASSERT_EQ(::pipe(ends), 0);
    const sys::UniqueFd reader(ends[0]);
    const sys::UniqueFd writer(ends[1]);
    EXPECT_EQ(identify_open_file(reader, "a pipe").error().what, "a pipe is not a regular file");
}

TEST_F(ImageFile, PositionOfAnOpenFileIsKept) {
    const auto path = write("loop.ko", test::build(test::module_spec("loop")));
    const sys::UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    ASSERT_EQ(::lseek(file.get(), 7, SEEK_SET), 7);
    EXPECT_EQ(identify_open_file(file, "loop.ko").value().identity.facts.name, "loop");
    EXPECT_EQ(identify_open_file(file, "loop.ko", {.image = {.with_hash = true}}).value().identity.facts.name,
              "loop");
    EXPECT_EQ(::lseek(file.get(), 0, SEEK_CUR), 7);
}

TEST_F(ImageFile, UnreadableIsAnErrorNotAProblem) {
    const auto path = write("loop.ko", test::build(test::module_spec("loop")));
    const sys::UniqueFd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
    const auto found = identify_open_file(file, "loop.ko");
    ASSERT_FALSE(found);
    EXPECT_TRUE(found.error().what.starts_with("cannot read loop.ko")) << found.error().what;
}

/// A file that is shorter than it was when its size was taken.
TEST_F(ImageFile, TruncatedMeanwhileIsReadNoFurther) {
    const auto path = write("loop.ko", test::build(test::module_spec("loop")));
    const sys::UniqueFd file(::open(path.c_str(), O_RDWR | O_CLOEXEC));
    FileSource source(file, std::filesystem::file_size(path), "loop.ko");
    ASSERT_EQ(::ftruncate(file.get(), 100), 0);
    const auto identity = identify_source(source);
    ASSERT_TRUE(identity);
    EXPECT_EQ(identity->facts.problem, "ends too early");
}

const ContentKey the_key{.bytes = {1, 2, 3, 4}};

TEST_F(ImageFile, TagIsOfThePackedBytes) {
    const auto image = test::build(test::module_spec("loop"));
    for (const auto container : {Container::raw, Container::gzip, Container::xz, Container::zstd}) {
        const auto content = container == Container::raw ? image : test::pack(image, container);
        const auto path = write("loop", content);
        for (const bool with_hash : {false, true}) {
            const auto found = identify_file(path, {.image = {.with_hash = with_hash}, .key = the_key});
            ASSERT_TRUE(found) << found.error().what;
            EXPECT_EQ(found->tag, tag_of(content, the_key).value());
            EXPECT_EQ(found->tag->size, content.size());
            EXPECT_EQ(found->container, container);
            EXPECT_EQ(found->identity.facts.name, "loop");
            EXPECT_EQ(found->identity.facts.sha256.has_value(), with_hash);
            EXPECT_EQ(found->file, sys::file_identity(path).value());
        }
        EXPECT_EQ(identify_file(path, {.image = {.with_hash = true}})->tag, std::nullopt);
        EXPECT_NE(identify_file(path, {.key = ContentKey{}})->tag, tag_of(content, the_key).value());
    }
}

TEST_F(ImageFile, TagIsNeverOfAnImageWithAProblem) {
    const auto image = test::build(test::module_spec("loop"));
    const auto packed = test::pack(image, Container::xz);
    const auto expect_none = [&](const Bytes& content, std::uint64_t limit) {
        const auto found = identify_file(write("loop", content), {.limit = limit, .key = the_key});
        ASSERT_TRUE(found) << found.error().what;
        EXPECT_NE(found->identity.facts.problem, "");
        EXPECT_EQ(found->tag, std::nullopt);
    };
    expect_none({}, default_image_limit);
    expect_none(Bytes(100), default_image_limit);
    expect_none(Bytes(packed.begin(), packed.end() - 1), default_image_limit);
    expect_none(image, image.size() - 1);
    expect_none(packed, image.size() - 1);
    EXPECT_TRUE(identify_file(write("loop", packed), {.limit = image.size(), .key = the_key})->tag);
}

TEST_F(ImageFile, OfOtherContentHasAnotherTag) {
    const auto path = write("loop.ko", test::build(test::module_spec("loop")));
    const auto before = identify_file(path, {.key = the_key}).value();
    write("loop.ko", test::build(test::module_spec("lo0p")));
    const auto after = identify_file(path, {.key = the_key}).value();
    EXPECT_EQ(before.tag->size, after.tag->size);
    EXPECT_NE(before.tag, after.tag);
    EXPECT_EQ(after.identity.facts.name, "lo0p");
}

/// Other bytes with every read but the first.
class ChangingSource final : public ByteSource {
  public:
    ChangingSource(Bytes first, Bytes later) : first_(std::move(first)), later_(std::move(later)) {}
    [[nodiscard]] std::uint64_t size() const override { return first_.size(); }
    [[nodiscard]] sys::Result<void> read(std::uint64_t offset, std::span<std::byte> into) override {
        MemorySource now(reads_++ == 0 ? first_ : later_);
        return now.read(offset, into);
    }

  private:
    Bytes first_;
    Bytes later_;
    int reads_ = 0;
};

/// More than any machine has room for.
class EndlessSource final : public ByteSource {
  public:
    [[nodiscard]] std::uint64_t size() const override { return 1ULL << 60U; }
    [[nodiscard]] sys::Result<void> read(std::uint64_t, std::span<std::byte> into) override {
        std::ranges::fill(into, std::byte{});
        return {};
    }
};

TEST_F(ImageFile, LargerThanTheLimitIsNotReadForItsTag) {
    EndlessSource source;
    const auto found = identify_compressed(source, {.key = the_key});
    ASSERT_TRUE(found) << found.error().what;
    EXPECT_EQ(found->identity.facts.problem, "larger than 536870912 bytes");
    EXPECT_EQ(found->tag, std::nullopt);
}

TEST_F(ImageFile, ThatChangesMeanwhileHasNamesHashAndTagOfTheSameBytes) {
    const auto good = test::build(test::module_spec("good"));
    const auto evil = test::build(test::module_spec("evil"));
    ASSERT_EQ(good.size(), evil.size());
    for (const auto container : {Container::raw, Container::zstd}) {
        Bytes first = test::pack(good, container);
        Bytes later = test::pack(evil, container);
        later.resize(first.size());
        const auto tag = tag_of(first, the_key).value();
        ChangingSource source(std::move(first), std::move(later));
        const auto found = identify_compressed(source, {.image = {.with_hash = true}, .key = the_key});
        ASSERT_TRUE(found) << found.error().what;
        EXPECT_EQ(found->identity.facts.name, "good");
        EXPECT_EQ(found->identity.facts.sha256, identify_image(good, {.with_hash = true}).facts.sha256);
        EXPECT_EQ(found->tag, tag);
        EXPECT_EQ(found->container, container);
    }
}

/// Reading takes longer than the clock that st_ctim goes by takes for one tick, so every attempt is spoilt.
TEST_F(ImageFile, ThatIsBeingWrittenIsNotIdentified) {
    auto image = test::build(test::module_spec("loop"));
    image.resize(32U << 20U);
    const auto path = write("loop.ko", image);
    const sys::UniqueFd file(::open(path.c_str(), O_RDWR | O_CLOEXEC));
    std::atomic<bool> enough = false;
    std::thread writer([&] {
        while (!enough)
            EXPECT_EQ(::pwrite(file.get(), "x", 1, 1 << 20), 1);
    });
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::minutes(2);
    auto found = identify_open_file(file, "loop.ko", {.key = the_key});
    while (found && std::chrono::steady_clock::now() < deadline)
        found = identify_open_file(file, "loop.ko", {.key = the_key});
    enough = true;
    writer.join();
    ASSERT_FALSE(found);
    EXPECT_EQ(found.error().what, "loop.ko changed while being read");
}

TEST_F(ImageFile, UnreadableForItsTagIsAnErrorNotAProblem) {
    const auto path = write("loop.ko", test::build(test::module_spec("loop")));
    const sys::UniqueFd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
    const auto found = identify_open_file(file, "loop.ko", {.key = the_key});
    ASSERT_FALSE(found);
    EXPECT_TRUE(found.error().what.starts_with("cannot read loop.ko")) << found.error().what;
}

TEST_F(ImageFile, TruncatedBeforeItWasReadWholeHasNoTag) {
    const auto path = write("loop.ko", test::build(test::module_spec("loop")));
    const sys::UniqueFd file(::open(path.c_str(), O_RDWR | O_CLOEXEC));
    FileSource source(file, std::filesystem::file_size(path), "loop.ko");
    ASSERT_EQ(::ftruncate(file.get(), 100), 0);
    const auto found = identify_compressed(source, {.key = the_key});
    ASSERT_TRUE(found);
    EXPECT_EQ(found->identity.facts.problem, "ends too early");
    EXPECT_EQ(found->tag, std::nullopt);
}

} // namespace
} // namespace kmodguard::modules
