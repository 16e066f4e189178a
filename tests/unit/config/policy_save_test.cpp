// SPDX-License-Identifier: AGPL-3.0-only
#include "config/policy_edit.hpp"
#include "support.hpp"
#include "sys/file.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

namespace kmodguard::config {
namespace {

using namespace test;
namespace fs = std::filesystem;

/// What the edits make of the files, written as the daemon writes it.
sys::Result<std::vector<fs::path>> save_edits(const std::vector<fs::path>& files,
                                              const std::vector<Edit>& edits) {
    std::vector<fs::path> changed;
    for (const EditedFile& file : TRY(edit_files(files, edits))) {
        TRY(sys::replace_file_atomically(file.target, file.text));
        changed.push_back(file.path);
    }
    return changed;
}

class SaveEdits : public ::testing::Test {
  protected:
    sys::Result<std::vector<fs::path>> save(const std::vector<Edit>& edits) const {
        return save_edits({{main_, drop_in_}}, edits);
    }

    TemporaryDirectory directory_;
    fs::path main_ = directory_.write("policy.toml", "version = 1 # main\nallow.modules = ['a', 'both']\n");
    fs::path drop_in_ =
        directory_.write("policy.d/1.toml", "version = 1 # drop-in\nallow.modules = ['b', 'both']\n");
};

TEST_F(SaveEdits, AdditionsGoToTheMainFile) {
    const auto report = save({AddEntry{List::allow_modules, "c"}});
    ASSERT_TRUE(report) << report.error().what;
    EXPECT_EQ(*report, std::vector{main_});
    EXPECT_EQ(content_of(main_), "version = 1 # main\nallow.modules = ['a', 'both', 'c']\n");
    EXPECT_EQ(content_of(drop_in_), "version = 1 # drop-in\nallow.modules = ['b', 'both']\n");
}

TEST_F(SaveEdits, RemovalsGoToEveryFileThatHasTheEntry) {
    auto report = save({RemoveEntry{List::allow_modules, "b"}});
    ASSERT_TRUE(report) << report.error().what;
    EXPECT_EQ(*report, std::vector{drop_in_});
    EXPECT_EQ(content_of(drop_in_), "version = 1 # drop-in\nallow.modules = ['both']\n");
    report = save({RemoveEntry{List::allow_modules, "both"}});
    ASSERT_TRUE(report) << report.error().what;
    EXPECT_EQ(*report, (std::vector{main_, drop_in_}));
    EXPECT_EQ(content_of(main_), "version = 1 # main\nallow.modules = ['a']\n");
    EXPECT_EQ(content_of(drop_in_), "version = 1 # drop-in\nallow.modules = []\n");
}

TEST_F(SaveEdits, WhatIsSaidAlreadyIsReportedAndNothingWritten) {
    const std::vector<Edit> edits = {AddEntry{List::allow_modules, "b"}, RemoveEntry{List::deny_modules, "z"},
                                     SetMode{core::Mode::enforce}};
    const auto report = save(edits);
    ASSERT_TRUE(report) << report.error().what;
    EXPECT_TRUE(report->empty());
    EXPECT_EQ(content_of(drop_in_), "version = 1 # drop-in\nallow.modules = ['b', 'both']\n");
    EXPECT_EQ(content_of(main_), "version = 1 # main\nallow.modules = ['a', 'both']\n");
}

TEST_F(SaveEdits, TheModeIsSetWhereItTakesEffect) {
    ASSERT_TRUE(save({SetMode{core::Mode::audit}}));
    EXPECT_EQ(content_of(main_), "version = 1 # main\nmode = \"audit\"\nallow.modules = ['a', 'both']\n");
    directory_.write("policy.d/1.toml", "version = 1\nmode = 'audit'\n");
    const auto report = save({SetMode{core::Mode::enforce}});
    ASSERT_TRUE(report) << report.error().what;
    EXPECT_EQ(*report, std::vector{drop_in_});
    EXPECT_EQ(content_of(drop_in_), "version = 1\nmode = 'enforce'\n");
    const auto policy = load_policy({main_, drop_in_.parent_path()});
    ASSERT_TRUE(policy);
    EXPECT_EQ(policy->source.mode, core::Mode::enforce);
}

/// They became private to root, and whoever was to read them could not any more.
TEST_F(SaveEdits, WrittenFilesKeepTheirOwnerGroupAndMode) {
    for (const unsigned mode : {0644U, 0600U, 0640U}) {
        const bool given = ::chown(main_.c_str(), 7, 4) == 0; // root can, but not in every user namespace
        fs::permissions(main_, fs::perms(mode));
        const auto before = sys::ownership(main_).value();
        EXPECT_EQ(before.mode, mode);
        EXPECT_TRUE(!given || before.group == 4);
        ASSERT_TRUE(save({AddEntry{List::allow_modules, "c" + std::to_string(mode)}}));
        EXPECT_EQ(sys::ownership(main_).value(), before);
    }
}

TEST_F(SaveEdits, ASymbolicLinkStaysOne) {
    const fs::path link = directory_.path() / "link.toml";
    fs::create_symlink(main_, link);
    const auto report = save_edits({{link}}, std::vector<Edit>{AddEntry{List::allow_modules, "c"}});
    ASSERT_TRUE(report) << report.error().what;
    EXPECT_TRUE(fs::is_symlink(link));
    EXPECT_EQ(content_of(main_), "version = 1 # main\nallow.modules = ['a', 'both', 'c']\n");
}

TEST_F(SaveEdits, AnEmptyMainFileBecomesAPolicy) {
    directory_.write("policy.toml", "# mine\n");
    ASSERT_TRUE(save({AddEntry{List::deny_modules, "c"}}));
    EXPECT_EQ(content_of(main_), "# mine\nversion = 1\n\n[deny]\nmodules = [\n    \"c\",\n]\n");
}

TEST_F(SaveEdits, AMissingMainFileSaysHowToGetOne) {
    fs::remove(main_);
    const auto report = save({AddEntry{List::allow_modules, "c"}});
    ASSERT_FALSE(report);
    EXPECT_EQ(report.error().kind, sys::ErrorKind::not_found);
    EXPECT_EQ(report.error().hint, "run `kmodctl init` to write a baseline");
    EXPECT_FALSE(fs::exists(main_));
}

TEST_F(SaveEdits, ABrokenFileStopsEverythingAndIsNamed) {
    directory_.write("policy.d/1.toml", "version = 1\nmod = 1\n");
    const auto report = save({AddEntry{List::allow_modules, "c"}, RemoveEntry{List::allow_modules, "b"}});
    ASSERT_FALSE(report);
    EXPECT_EQ(report.error().kind, sys::ErrorKind::bad_policy);
    EXPECT_EQ(report.error().what, drop_in_.string() + ":2:1: unknown key \"mod\"");
    EXPECT_EQ(content_of(main_), "version = 1 # main\nallow.modules = ['a', 'both']\n");
}

TEST_F(SaveEdits, AnEntryThatCanBeNoneStopsEverything) {
    const auto report = save({RemoveEntry{List::allow_modules, "a"}, AddEntry{List::allow_modules, "x/y"}});
    ASSERT_FALSE(report);
    EXPECT_EQ(report.error().what, "\"x/y\" is a path, not a module name");
    EXPECT_EQ(content_of(main_), "version = 1 # main\nallow.modules = ['a', 'both']\n");
}

TEST_F(SaveEdits, AYamlPolicyIsNotChanged) {
    const std::string text = "plugins: {kmods: {allowlist: [a]}}\n";
    for (const char* name : {"p.yaml", "p.yml"}) {
        const auto file = directory_.write(name, text);
        const auto report = save_edits({{file}}, std::vector<Edit>{AddEntry{List::allow_modules, "c"}});
        ASSERT_FALSE(report);
        EXPECT_EQ(report.error().kind, sys::ErrorKind::failed);
        EXPECT_EQ(report.error().what, file.string() + " is YAML, and only TOML policies are changed");
        EXPECT_EQ(report.error().hint,
                  "`kmodctl convert` makes a TOML policy of it; or change the file by hand");
        EXPECT_EQ(content_of(file), text);
    }
}

TEST_F(SaveEdits, NeedsAFile) {
    EXPECT_FALSE(save_edits({}, std::vector<Edit>{SetMode{}}));
}

} // namespace
} // namespace kmodguard::config
