// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows that a reader in a process of its own answers as one in this process does, that it can do nothing
// else, and that nothing it reads, and no end of it, ends the process that asks.
#include "compiled/hash_table.hpp"
#include "compiled/index.hpp"
#include "module_tree.hpp"
#include "modules/hash.hpp"
#include "modules/image.hpp"
#include "reader/local/local_reader.hpp"
#include "reader/messages.hpp"
#include "reader/process.hpp"
#include "temporary_directory.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <span>

namespace kmodguard::reader {
namespace {

using test::ModuleTree;

class ReaderTest : public ::testing::Test {
  protected:
    ReaderTest() {
        add_usual_modules(tree);
        tree.write("etc/kmodguard/policy.toml", "version = 1\nallow.modules = ['kmt_base']\n");
        tree.write("etc/kmodguard/policy.d/1.toml",
                   "version = 1\n[[pin]]\nmodule = 'kmt_deep'\nsha256 = '" + std::string(64, 'a') + "'\n");
    }

    ModuleTree tree;
    LocalReader local{tree.paths()};
    ReaderProcess remote{tree.paths(), {.program = READER}};
};

TEST_F(ReaderTest, AnswersAsOneInThisProcessDoes) {
    const auto policy = remote.policy();
    ASSERT_TRUE(policy) << policy.error().what;
    EXPECT_EQ(encoded(policy->source), encoded(local.policy()->source));
    EXPECT_EQ(policy->warnings, local.policy()->warnings);
    EXPECT_EQ(policy->source.pins.size(), 1U);

    const auto path = tree / ("lib/modules/" + ModuleTree::release + "/kernel/kmt_needs.ko");
    const compiled::ImageReader::Wanted wanted{.hash = true, .aliases = true, .key = compiled::ContentKey{}};
    const auto image = remote.read(path, wanted);
    ASSERT_TRUE(image) << image.error().what;
    EXPECT_EQ(encoded(*image), encoded(*local.read(path, wanted)));
    EXPECT_TRUE(image->tag);

    core::RuntimeChanges changes;
    changes.denied = {"kmt_deep"};
    const auto edited = remote.edited(changes);
    ASSERT_TRUE(edited) << edited.error().what;
    EXPECT_EQ(encoded(*edited), encoded(*local.edited(changes)));
    ASSERT_EQ(edited->size(), 1U);
    EXPECT_EQ(edited->front().file, tree / "etc/kmodguard/policy.toml");

    auto index = remote.index(ModuleTree::release);
    ASSERT_TRUE(index) << index.error().what;
    compiled::CompiledIndex modules(std::move(*index), tree.paths(), remote);
    EXPECT_EQ(modules.resolve("kmt-only-b"), std::vector<std::string>{"kmt_twin_b"});
    EXPECT_EQ(modules.image(*modules.find("kmt_base"), false).name, "kmt_base");
}

TEST_F(ReaderTest, PackedImageIsThatOfTheFileAsItStands) {
    tree.add({.name = "kmt_packed", .packing = modules::Container::xz});
    const compiled::ContentKey key{.bytes = {7}};
    for (const std::string name : {"kmt_base", "kmt_packed"}) {
        const auto folder = tree / ("lib/modules/" + ModuleTree::release + "/kernel");
        const std::filesystem::path path =
            folder.native() + "/" + name + (name == "kmt_packed" ? ".ko.xz" : ".ko");
        const auto image = local.read(path, {.hash = true, .key = key});
        ASSERT_TRUE(image) << image.error().what;
        const std::string bytes = sys::read_file(path, 1 << 20).value();
        EXPECT_EQ(image->tag, modules::tag_of(std::as_bytes(std::span(bytes)), key).value());
        EXPECT_EQ(image->facts.name, name);
        EXPECT_TRUE(image->facts.sha256);
        EXPECT_EQ(image->file, sys::file_identity(path).value());
    }
}

/// The processes that this one has started.
std::string children() {
    std::ifstream file("/proc/thread-self/children");
    return {std::istreambuf_iterator<char>(file), {}};
}

TEST_F(ReaderTest, UnpackedImageComesSealedFromAProcessThatHasReadNothingElse) {
    tree.add({.name = "kmt_packed", .packing = modules::Container::xz});
    const auto path = tree / ("lib/modules/" + ModuleTree::release + "/kernel/kmt_packed.ko.xz");
    const compiled::ImageReader::Wanted wanted{.hash = true, .unpacked = {{"kmt_packed!", 1U << 20U}}};
    ASSERT_TRUE(remote.policy());
    const std::string first = children();
    for (int i = 0; i < 2; ++i) {
        const auto read = remote.read(path, wanted);
        ASSERT_TRUE(read) << read.error().what;
        ASSERT_TRUE(read->unpacked);
        EXPECT_EQ(::fcntl(read->unpacked.get(), F_GET_SEALS) & sys::whole_seals, sys::whole_seals);
        const std::string shown = "/proc/self/fd/" + std::to_string(read->unpacked.get());
        EXPECT_EQ(std::filesystem::read_symlink(shown), "/memfd:kmt_packed! (deleted)");
        std::ifstream file(shown);
        const std::string bytes{std::istreambuf_iterator<char>(file), {}};
        const auto image = modules::identify_image(std::as_bytes(std::span(bytes)), {.with_hash = true});
        EXPECT_EQ(image.facts.name, "kmt_packed");
        EXPECT_EQ(image.facts.sha256, read->facts.sha256);
        EXPECT_EQ(read->file, sys::file_identity(path).value());
        EXPECT_NE(children(), first) << "it has read another file before";
        ASSERT_TRUE(remote.policy());
    }
}

TEST_F(ReaderTest, WhatIsNotCompressedTooLargeOrNoImageIsNotUnpacked) {
    tree.add({.name = "kmt_packed", .packing = modules::Container::xz});
    tree.write("broken.ko.xz", "\xfd"
                               "7zXZ broken");
    const auto folder = tree / ("lib/modules/" + ModuleTree::release + "/kernel");
    for (const auto& [path, limit] :
         {std::pair{folder / "kmt_base.ko", 1U << 20U}, std::pair{folder / "kmt_packed.ko.xz", 100U},
          std::pair{tree / "broken.ko.xz", 1U << 20U}}) {
        const auto read = remote.read(path, {.unpacked = {{"image", limit}}});
        ASSERT_TRUE(read) << read.error().what;
        EXPECT_FALSE(read->unpacked) << path;
        EXPECT_EQ(read->facts.problem.empty(), path != tree / "broken.ko.xz");
    }
}

TEST_F(ReaderTest, PackedImageIsReadAnew) {
    const compiled::ContentKey key{.bytes = {7}};
    const auto path = tree / ("lib/modules/" + ModuleTree::release + "/kernel/kmt_base.ko");
    const auto before = local.read(path, {.key = key}).value();
    tree.add({.name = "kmt_base", .calls_itself = "kmt_evil"});
    const auto after = local.read(path, {.key = key}).value();
    EXPECT_EQ(after.facts.name, "kmt_evil");
    EXPECT_NE(after.tag, before.tag);
    EXPECT_NE(local.read(path, {.key = compiled::ContentKey{}})->tag, after.tag);
    std::filesystem::remove(path);
    EXPECT_EQ(local.read(path, {.key = key}).error().kind, sys::ErrorKind::not_found);
}

TEST_F(ReaderTest, GivesTheErrorsOfOneInThisProcess) {
    tree.write("etc/kmodguard/policy.toml", "version = 1\nallow.modules = ['a b']\n");
    for (const auto& [theirs, ours] :
         {std::pair{remote.policy().error(), local.policy().error()},
          std::pair{remote.index("6.6.6").error(), local.index("6.6.6").error()},
          std::pair{remote.read(tree / "no", {}).error(), local.read(tree / "no", {}).error()}}) {
        EXPECT_EQ(theirs.kind, ours.kind);
        EXPECT_EQ(theirs.what, ours.what);
        EXPECT_EQ(theirs.hint, ours.hint);
    }
}

TEST_F(ReaderTest, IsStartedAgainWhereItEnded) {
    EXPECT_FALSE(remote.is_running());
    ASSERT_TRUE(remote.policy());
    EXPECT_TRUE(remote.is_running());
    remote.rest();
    EXPECT_FALSE(remote.is_running());
    EXPECT_TRUE(remote.policy());
}

TEST_F(ReaderTest, OneThatSaysThatAnImageFollowsAndSendsNoneOrAnOpenFileIsAnError) {
    for (const char* way : {"sends no image", "sends an open image"}) {
        tree.write("way", way);
        ReaderProcess bad{tree.paths(), {.program = BAD_READER}};
        const auto failed = bad.read("kmt.ko.xz", {.unpacked = {{"image", 1000}}});
        ASSERT_FALSE(failed) << way;
        EXPECT_TRUE(failed.error().what.starts_with("cannot read kmt.ko.xz: ")) << failed.error().what;
        EXPECT_FALSE(bad.read("kmt.ko.xz", {})) << "it was not asked for one";
    }
}

TEST_F(ReaderTest, OneThatIsNotThereIsSaid) {
    ReaderProcess none{tree.paths(), {.program = tree / "none"}};
    const auto failed = none.policy();
    ASSERT_FALSE(failed);
    EXPECT_EQ(failed.error().what, "cannot find " + (tree / "none").native() + ": No such file or directory");
    EXPECT_EQ(failed.error().kind, sys::ErrorKind::failed) << "as if there were no policy";
}

TEST_F(ReaderTest, OneThatCrashesHangsOrTalksNonsenseIsAnErrorOfThatQuestion) {
    const std::string file = tree.paths().policy().native();
    for (const char* way : {"ends", "crashes", "sends no file", "sends an open file", "sends nonsense"}) {
        tree.write("way", way);
        ReaderProcess bad{tree.paths(), {.program = BAD_READER}};
        const auto failed = bad.policy();
        ASSERT_FALSE(failed) << way;
        EXPECT_TRUE(failed.error().what.starts_with("cannot read " + file + ": ")) << failed.error().what;
        EXPECT_FALSE(bad.is_running());
        EXPECT_FALSE(bad.policy()) << "the next question starts another, which is no better";
    }
    tree.write("way", "hangs");
    ReaderProcess slow{tree.paths(), {.program = BAD_READER, .timeout = std::chrono::milliseconds(20)}};
    const auto failed = slow.policy();
    ASSERT_FALSE(failed);
    EXPECT_EQ(failed.error().what, "cannot read " + file + ": the process that reads it takes too long");
}

} // namespace

TEST(Wire, WhatWasNotEncodedIsNotDecoded) {
    core::RuntimeChanges changes;
    changes.allowed = {"a", "b"};
    changes.denied_aliases = {{"x", "y"}};
    changes.mode = core::Mode::audit;
    const std::string bytes = encoded(changes);
    core::RuntimeChanges decoded;
    ASSERT_TRUE(decode(bytes, decoded));
    EXPECT_EQ(encoded(decoded), bytes);
    for (std::size_t length = 0; length < bytes.size(); ++length) {
        core::RuntimeChanges none;
        EXPECT_FALSE(decode(std::string_view(bytes).substr(0, length), none)) << length;
    }
    core::RuntimeChanges none;
    EXPECT_FALSE(decode(bytes + "x", none));
    EXPECT_FALSE(decode(std::string(8, '\xff'), none)) << "a length that is not there";
}

/// It may have been written by an older build, whose policies this one would read as others.
TEST(Wire, APolicyIsKeptInTheSameForm) {
    ReadPolicy policy;
    policy.source.files = {"a", "b"};
    policy.source.mode = core::Mode::audit;
    policy.source.points = {core::Point::kernel};
    policy.source.allow_modules = {{"c", {1, 2}}};
    policy.source.allow_aliases = {{"d", {0, 3}}, {"e", {}}};
    policy.source.deny_modules = {{"f", {}}};
    policy.source.pins = {{"g", {}, {1, 4}}};
    policy.source.generated_at = "h";
    policy.warnings = {"i"};
    EXPECT_EQ(compiled::hash_of(encoded(policy)), 989228841U)
        << "raise compiled::file_version, and write the new number here";
}

TEST(Reader, AFailedWriteSaysWhichFilesWereWritten) {
    const test::TemporaryDirectory directory;
    const auto first = directory.write("policy.toml", "before");
    // The longest possible name leaves no room for that of a temporary file beside it.
    const auto stuck = directory.write(std::string(250, 'x') + ".toml", "before");
    const auto report = write({{first, "shown", "after"}, {stuck, stuck, "after"}});
    ASSERT_FALSE(report);
    EXPECT_NE(report.error().what.find("; already written: shown"), std::string::npos) << report.error().what;
    EXPECT_EQ(*sys::read_file(first, 100), "after");
    EXPECT_EQ(*sys::read_file(stuck, 100), "before");
}

} // namespace kmodguard::reader
