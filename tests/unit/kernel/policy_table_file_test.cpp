// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows that a table comes back from its file as it was, and that what is no table is not taken for one.
#include "enforce/kernel/policy_table.hpp"
#include "sys/file.hpp"
#include "temporary_directory.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>

namespace kmodguard::kernel {
namespace {

class TableFileTest : public ::testing::Test {
  protected:
    test::TemporaryDirectory directory;
    const std::filesystem::path path = directory / "table";
};

TEST_F(TableFileTest, ComesBackAsItWas) {
    guard_name pin{};
    pin.text[0] = GUARD_PIN_MARK;
    pin.text[1] = '\xff';
    PolicyTable table;
    table[head_key] = {.number = std::uint64_t{1} << 40U, .flags = GUARD_AUDIT, .reason = 0};
    table[name_key("loop").value()] = {.number = 1, .flags = GUARD_PINNED, .reason = 2};
    table[pin] = {};
    ASSERT_TRUE(save_table(path, table));
    const PolicyTable back = load_table(path).value();
    ASSERT_EQ(back.size(), table.size());
    for (const auto& [key, rule] : table) {
        EXPECT_EQ(back.at(key).number, rule.number);
        EXPECT_EQ(back.at(key).flags, rule.flags);
        EXPECT_EQ(back.at(key).reason, rule.reason);
    }
}

TEST_F(TableFileTest, EmptyOneComesBackEmpty) {
    ASSERT_TRUE(save_table(path, {}));
    EXPECT_TRUE(load_table(path).value().empty());
}

TEST_F(TableFileTest, FileIsTheText) {
    PolicyTable table;
    table[name_key("loop").value()] = {.number = 1, .flags = 0, .reason = 2};
    ASSERT_TRUE(save_table(path, table));
    EXPECT_EQ(sys::read_file(path, 1000).value(), text_of_table(table));
    EXPECT_EQ(parse_table(text_of_table(table)).value().at(name_key("loop").value()).number, 1U);
}

TEST_F(TableFileTest, IsItsOwnersAlone) {
    ASSERT_TRUE(save_table(path, {}));
    struct stat status{};
    ASSERT_EQ(::stat(path.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777U, 0600U);
}

TEST_F(TableFileTest, WhatIsNoTableIsRefused) {
    EXPECT_EQ(load_table(path).error().kind, sys::ErrorKind::not_found);
    directory.write("table", std::string(sizeof(guard_name) + sizeof(guard_rule) + 1, 'x'));
    EXPECT_EQ(load_table(path).error().kind, sys::ErrorKind::invalid);
    EXPECT_EQ(load_table(path).error().what, path.native() + " is no table of the kernel point");
    EXPECT_EQ(parse_table("x").error().kind, sys::ErrorKind::invalid);
    directory.write("table", std::string(4U << 20U, 'x'));
    EXPECT_FALSE(load_table(path));
}

} // namespace
} // namespace kmodguard::kernel
