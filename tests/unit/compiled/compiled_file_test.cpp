// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows that a compiled file is taken whole or not at all, and that no file has a reader leave it.
#include "compiled/file.hpp"
#include "compiled/index.hpp"
#include "random.hpp"
#include "sys/file.hpp"
#include "temporary_directory.hpp"

#include <gtest/gtest.h>

namespace kmodguard::compiled {
namespace {

struct Number {
    std::uint64_t value = 0;
};

class CompiledFileTest : public ::testing::Test {
  protected:
    sys::Result<File> opened(const std::string& bytes) {
        EXPECT_TRUE(sys::write_file_atomically(directory / "file", bytes, 0600));
        return File::open(directory / "file");
    }
    static std::string some_file() {
        FileWriter writer;
        writer.set<Text>(Table::names,
                         {writer.add("one"), writer.add("two"), writer.add("one"), writer.add("")});
        writer.set<Number>(Table::inputs, {{1}, {2}, {3}});
        return *writer.finish();
    }

    test::TemporaryDirectory directory;
};

TEST_F(CompiledFileTest, HasWhatWasWritten) {
    auto first = opened(some_file());
    ASSERT_TRUE(first) << first.error().what;
    const File file = std::move(*first);
    const auto names = file.table<Text>(Table::names);
    ASSERT_EQ(names.size(), 4U);
    EXPECT_EQ(file.text(names[0]), "one");
    EXPECT_EQ(file.text(names[1]), "two");
    EXPECT_EQ(names[2].offset, names[0].offset);
    EXPECT_EQ(file.text(names[3]), "");
    EXPECT_EQ(file.table<Number>(Table::inputs)[2].value, 3U);
    EXPECT_TRUE(file.table<Number>(Table::modules).empty());
}

TEST_F(CompiledFileTest, DoesNotLeaveItsTables) {
    const auto file = opened(some_file());
    ASSERT_TRUE(file);
    EXPECT_EQ(file->text({0, 100}), "");
    EXPECT_EQ(file->text({~0U, ~0U}), "");
    const auto numbers = file->table<Number>(Table::inputs);
    EXPECT_EQ(File::part(numbers, {1, 2}).size(), 2U);
    EXPECT_TRUE(File::part(numbers, {1, 3}).empty());
    EXPECT_TRUE(File::part(numbers, {~0U, ~0U}).empty());
}

TEST_F(CompiledFileTest, IsNotTakenIfAnyByteIsAnother) {
    const std::string whole = some_file();
    for (std::size_t i = 0; i < whole.size(); ++i) {
        std::string changed = whole;
        changed[i] = static_cast<char>(changed[i] ^ 0x20);
        EXPECT_FALSE(opened(changed)) << i;
        EXPECT_FALSE(opened(whole.substr(0, i))) << i;
    }
    EXPECT_FALSE(opened(whole + "x"));
    EXPECT_TRUE(opened(whole));
    const auto missing = File::open(directory / "none");
    ASSERT_FALSE(missing);
    EXPECT_EQ(missing.error().kind, sys::ErrorKind::not_found);
}

TEST_F(CompiledFileTest, SaysWhatIsWrong) {
    const auto damaged = opened(some_file().replace(300, 1, "\x7f"));
    ASSERT_FALSE(damaged);
    EXPECT_NE(damaged.error().what.find("file is damaged"), std::string::npos) << damaged.error().what;
    const auto other = opened(some_file().replace(8, 1, "\x7f"));
    ASSERT_FALSE(other);
    EXPECT_NE(other.error().what.find("another version"), std::string::npos) << other.error().what;
}

} // namespace
} // namespace kmodguard::compiled
