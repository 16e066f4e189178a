// SPDX-License-Identifier: AGPL-3.0-only
//
// Good policies: what they come to.
#include "config/diagnostic.hpp"
#include "config/policy_file.hpp"
#include "support.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace kmodguard::config {
namespace {

using namespace test;

core::PolicySource source_of(std::string_view text) {
    const auto policy = parse_policy(text, "p.toml");
    EXPECT_TRUE(policy) << (policy ? "" : render(policy.error()));
    if (!policy) return {};
    EXPECT_EQ(render(policy->warnings), "");
    return policy->source;
}

std::filesystem::path fixture(const char* name) {
    return std::filesystem::path(FIXTURES) / "policy" / name;
}

TEST(PolicyFile, ReadsEveryKeyOfVersion1) {
    const auto source = source_of(content_of(fixture("full.toml")));
    EXPECT_EQ(source.generated_at, "2026-11-21T00:00:00Z");
    EXPECT_EQ(source.kernel_release, "6.1.0-56-amd64");
    EXPECT_EQ(source.mode, core::Mode::audit);
    EXPECT_EQ(source.points, (std::vector{core::Point::autoload, core::Point::kernel}));
    EXPECT_EQ(texts(source.allow_modules), (Texts{"loop", "dm_mod"}));
    EXPECT_EQ(texts(source.allow_aliases), (Texts{"block-major-*"}));
    EXPECT_FALSE(source.dependencies);
    EXPECT_EQ(texts(source.deny_modules), (Texts{"dccp"}));
    EXPECT_EQ(texts(source.deny_aliases), (Texts{"net-pf-21"}));
    EXPECT_EQ(source.answer, core::CallerAnswer::pretend);
    ASSERT_EQ(source.pins.size(), 1U);
    EXPECT_EQ(source.pins[0].module, "e1000e");
    EXPECT_EQ(core::to_hex(source.pins[0].sha256),
              "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

TEST(PolicyFile, AVersionAloneAllowsNothingAndEnforces) {
    const auto source = source_of("version = 1\n");
    EXPECT_EQ(source.mode, core::Mode::enforce);
    EXPECT_EQ(source.answer, core::CallerAnswer::refuse);
    EXPECT_TRUE(source.dependencies);
    EXPECT_FALSE(source.user_namespaces);
    EXPECT_FALSE(source.quiet);
    EXPECT_FALSE(source.unload_denied);
    EXPECT_TRUE(source.points.empty());
    EXPECT_TRUE(source.allow_modules.empty());
}

TEST(PolicyFile, ReadsWhatIsLoggedAndWhetherModulesMayBeTakenOut) {
    EXPECT_TRUE(source_of("version = 1\nquiet = true\n").quiet);
    EXPECT_FALSE(source_of("version = 1\nquiet = false\n").quiet);
    EXPECT_TRUE(source_of("version = 1\n[deny]\nunload = true\n").unload_denied);
    EXPECT_FALSE(source_of("version = 1\n[deny]\nunload = false\n").unload_denied);
}

TEST(PolicyFile, ReadsWhetherUserNamespacesAreServed) {
    EXPECT_TRUE(source_of("version = 1\n[allow]\nuser_namespaces = true\n").user_namespaces);
    EXPECT_FALSE(source_of("version = 1\n[allow]\nuser_namespaces = false\n").user_namespaces);
}

TEST(PolicyFile, LoadsWhatOtherToolsWriteUnchanged) {
    for (const char* name : {"other-serializer.toml", "other-inline.toml"}) {
        const auto source = source_of(content_of(fixture(name)));
        EXPECT_EQ(source.generated_at, "2026-11-21T10:20:30.5+01:00") << name;
        EXPECT_EQ(source.kernel_release, "6.12.9") << name;
        EXPECT_EQ(texts(source.allow_modules), (Texts{"loop", "dm_mod"})) << name;
        EXPECT_EQ(texts(source.allow_aliases), (Texts{"net-pf-16-proto-*"})) << name;
        EXPECT_EQ(texts(source.deny_modules), (Texts{"dccp"})) << name;
    }
}

TEST(PolicyFile, BringsModuleNamesToCanonicalForm) {
    const auto source =
        source_of("version = 1\n[allow]\nmodules = ['foo-bar', \"baz.ko\", \"\"\"q-x.ko.xz\"\"\", "
                  "'''z.ko.zst''', \"\\u0061b\"]\n");
    EXPECT_EQ(texts(source.allow_modules), (Texts{"foo_bar", "baz", "q_x", "z", "ab"}));
}

TEST(PolicyFile, RemembersTheLineOfEachEntry) {
    const auto source =
        source_of("version = 1\n[allow]\nmodules = [\n  'a', # first\n\n  'b', 'c',\n]\n[[pin]]\n"
                  "module = 'a'\nsha256 = '"
                  + std::string(64, '0') + "'\n");
    ASSERT_EQ(source.allow_modules.size(), 3U);
    EXPECT_EQ(source.allow_modules[0].origin.line, 4U);
    EXPECT_EQ(source.allow_modules[1].origin.line, 6U);
    EXPECT_EQ(source.allow_modules[2].origin.line, 6U);
    ASSERT_EQ(source.pins.size(), 1U);
    EXPECT_EQ(source.pins[0].origin.line, 8U);
    EXPECT_EQ(source.files, Texts{"p.toml"});
}

TEST(PolicyFile, AcceptsGeneratedAtInEveryReasonableForm) {
    EXPECT_EQ(source_of("version=1\ngenerated_at = 'yesterday'").generated_at, "yesterday");
    EXPECT_EQ(source_of("version=1\ngenerated_at = 2026-01-02").generated_at, "2026-01-02");
    EXPECT_EQ(source_of("version=1\ngenerated_at = 2026-01-02 03:04:05").generated_at, "2026-01-02T03:04:05");
    EXPECT_EQ(source_of("version=1\ngenerated_at = 2026-01-02T03:04:05-08:30").generated_at,
              "2026-01-02T03:04:05-08:30");
}

TEST(PolicyFile, ReadsWindowsLineEndsAndAByteOrderMark) {
    const auto source = source_of("\xEF\xBB\xBFversion = 1\r\n[allow]\r\nmodules = [\r\n\"a\",\r\n]\r\n");
    ASSERT_EQ(source.allow_modules.size(), 1U);
    EXPECT_EQ(source.allow_modules[0].origin.line, 4U);
}

class Directory : public ::testing::Test {
  protected:
    PolicyResult load(const PolicyLimits& limits = {}) const {
        return load_policy({directory_.path() / "policy.toml", directory_.path() / "policy.d"}, limits);
    }
    /// What the user sees, with the directory's own path left out.
    std::string said(const PolicyResult& result) const {
        std::string text = render(result ? result->warnings : result.error());
        const std::string prefix = directory_.path().string() + "/";
        for (std::size_t at = 0; (at = text.find(prefix, at)) != std::string::npos;)
            text.erase(at, prefix.size());
        return text;
    }
    TemporaryDirectory directory_;
};

TEST_F(Directory, DropInsAddToTheListsInNameOrder) {
    directory_.write("policy.toml", "version = 1\n[allow]\nmodules = ['a']\n");
    directory_.write("policy.d/20-b.toml",
                     "version = 1\n[allow]\nmodules = ['c']\n[deny]\naliases = ['x']\n");
    directory_.write("policy.d/10-a.toml", "version = 1\nallow.modules = ['b']\n");
    directory_.write("policy.d/README", "no policy");
    directory_.write("policy.d/.hidden.toml", "no policy");
    const auto policy = load();
    ASSERT_TRUE(policy) << said(policy);
    EXPECT_EQ(texts(policy->source.allow_modules), (Texts{"a", "b", "c"}));
    EXPECT_EQ(texts(policy->source.deny_aliases), (Texts{"x"}));
    ASSERT_EQ(policy->source.files.size(), 3U);
    EXPECT_EQ(policy->source.files[1], (directory_.path() / "policy.d/10-a.toml").string());
    EXPECT_EQ(policy->source.allow_modules[1].origin.file, 1U);
    EXPECT_EQ(policy->source.allow_modules[1].origin.line, 2U);
    EXPECT_EQ(said(policy), "");
}

TEST_F(Directory, TheLastSettingHolds) {
    directory_.write("policy.toml", "version = 1\nmode = 'enforce'\npoints = ['autoload']\n");
    directory_.write("policy.d/1.toml",
                     "version = 1\nmode = 'audit'\npoints = ['kernel']\nallow.dependencies = false\n");
    directory_.write("policy.d/2.toml", "version = 1\ndeny.answer = 'pretend'\ndeny.unload = true\n");
    const auto policy = load();
    ASSERT_TRUE(policy) << said(policy);
    EXPECT_EQ(policy->source.mode, core::Mode::audit);
    EXPECT_EQ(policy->source.points, std::vector{core::Point::kernel});
    EXPECT_FALSE(policy->source.dependencies);
    EXPECT_EQ(policy->source.answer, core::CallerAnswer::pretend);
    EXPECT_TRUE(policy->source.unload_denied);
}

TEST_F(Directory, WorksWithoutADropInDirectory) {
    const auto main_file = directory_.write("policy.toml", "version = 1\n");
    EXPECT_TRUE(load());
    EXPECT_TRUE(load_policy(main_file, {}));
}

TEST_F(Directory, AMissingMainFileSaysHowToGetOne) {
    const auto policy = load();
    ASSERT_FALSE(policy);
    EXPECT_EQ(said(policy), "policy.toml: error: cannot open policy.toml: No such file or directory\n"
                            "  hint: run `kmodctl init` to write a baseline from what is loaded now\n");
}

TEST_F(Directory, ReportsTheErrorsOfAllFiles) {
    directory_.write("policy.toml", "version = 1\nmode = 'x'\n");
    directory_.write("policy.d/1.toml", "[allow]\n");
    directory_.write("policy.d/2.toml", "version = \n");
    const auto policy = load();
    ASSERT_FALSE(policy);
    const std::string text = said(policy);
    EXPECT_NE(text.find("policy.toml:2:8: error: unknown mode"), std::string::npos) << text;
    EXPECT_NE(text.find("policy.d/1.toml:1:1: error: the file has no version"), std::string::npos) << text;
    EXPECT_NE(text.find("policy.d/2.toml:1:11: error: not TOML"), std::string::npos) << text;
}

TEST_F(Directory, DirectoriesPipesAndDevicesAreNoPolicies) {
    std::filesystem::create_directory(directory_.path() / "policy.toml");
    EXPECT_EQ(said(load()), "policy.toml: error: policy.toml is not a regular file\n");
    std::filesystem::remove(directory_.path() / "policy.toml");
    ASSERT_EQ(::mkfifo((directory_.path() / "policy.toml").c_str(), 0600), 0);
    EXPECT_EQ(said(load()), "policy.toml: error: policy.toml is not a regular file\n");
    const auto device = load_policy({"/dev/null"});
    ASSERT_FALSE(device);
    EXPECT_EQ(render(device.error()), "/dev/null: error: /dev/null is not a regular file\n");
}

TEST_F(Directory, ADropInDirectoryThatIsNoneIsAnError) {
    directory_.write("policy.toml", "version = 1\n");
    directory_.write("policy.d", "a file");
    EXPECT_EQ(said(load()), "policy.d: error: cannot list the drop-in directory: Not a directory\n");
}

TEST_F(Directory, ALinkThatLeadsNowhereIsAnError) {
    directory_.write("policy.toml", "version = 1\n");
    std::filesystem::create_directory(directory_.path() / "policy.d");
    std::filesystem::create_symlink("gone", directory_.path() / "policy.d/1.toml");
    EXPECT_EQ(said(load()),
              "policy.d/1.toml: error: cannot open policy.d/1.toml: No such file or directory\n"
              "  hint: a link that leads nowhere, or a file that vanished just now: try again\n");
}

TEST_F(Directory, ReadsAreBounded) {
    directory_.write("policy.toml", "version = 1\n# a long comment\n");
    EXPECT_NE(said(load({.file_bytes = 20})).find("policy.toml: error: "), std::string::npos);
    directory_.write("policy.d/1.toml", "version = 1\n");
    directory_.write("policy.d/2.toml", "version = 1\n");
    EXPECT_TRUE(load({.drop_ins = 2}));
    EXPECT_EQ(said(load({.drop_ins = 1})),
              "policy.d: error: more than 1 policy files\n  hint: join some of them\n");
}

TEST_F(Directory, EntriesAreCountedOverAllFiles) {
    directory_.write("policy.toml", "version = 1\n[allow]\nmodules = ['a', 'b']\n");
    directory_.write("policy.d/1.toml", "version = 1\n[deny]\nmodules = ['c',\n  'd', 'e']\n");
    EXPECT_TRUE(load({.entries = 5}));
    EXPECT_EQ(said(load({.entries = 3})),
              "policy.d/1.toml:4:3: error: too many entries in the policy\n"
              "  hint: cover whole families of modules by patterns in allow.aliases\n");
}

TEST_F(Directory, WarnsWhereOthersCanWriteThePolicy) {
    const auto main_file = directory_.write("policy.toml", "version = 1\n");
    const auto drop_in = directory_.write("policy.d/1.toml", "version = 1\n");
    std::filesystem::permissions(main_file, std::filesystem::perms(0660));
    std::filesystem::permissions(drop_in, std::filesystem::perms(0606));
    std::filesystem::permissions(drop_in.parent_path(), std::filesystem::perms(0777));
    const auto policy = load();
    ASSERT_TRUE(policy);
    const std::string text = said(policy);
    EXPECT_NE(
        text.find("policy.toml: warning: this policy file is writable by its group, who can decide what is "
                  "loaded\n  hint: chmod go-w "),
        std::string::npos)
        << text;
    EXPECT_NE(text.find("policy.d/1.toml: warning: this policy file is writable by everyone"),
              std::string::npos);
    EXPECT_NE(text.find("policy.d: warning: this policy directory is writable by everyone"),
              std::string::npos);
}

TEST_F(Directory, WarnsWhereOthersCanReplaceThePolicy) {
    const auto main_file = directory_.write("policy.toml", "version = 1\n");
    std::filesystem::permissions(directory_.path(), std::filesystem::perms(0775));
    const auto policy = load();
    ASSERT_TRUE(policy);
    EXPECT_NE(said(policy).find("this policy directory is writable by its group"), std::string::npos);
    EXPECT_EQ(render(load_policy(main_file, {}).value().warnings), "") << "a file by itself, of anybody";
    EXPECT_EQ(writable_by_others({main_file, directory_.path() / "policy.d"}), policy->warnings);
    std::filesystem::permissions(directory_.path(), std::filesystem::perms(01777));
    EXPECT_EQ(said(load()), "") << "what is in it is its owner's";
}

/// It made the whole policy invalid.
TEST_F(Directory, ADropInWithoutAnyKeySaysNothing) {
    directory_.write("policy.toml", "version = 1\nmode = 'audit'\n");
    directory_.write("policy.d/1.toml", "");
    directory_.write("policy.d/2.toml", "# mode = 'enforce'\n\n");
    std::filesystem::create_symlink("/dev/null", directory_.path() / "policy.d/3.toml");
    const auto policy = load();
    ASSERT_TRUE(policy) << said(policy);
    EXPECT_EQ(said(policy), "");
    EXPECT_EQ(policy->source.mode, core::Mode::audit);
    directory_.write("policy.toml", "# nothing\n");
    EXPECT_EQ(said(load()), "policy.toml:1:1: error: the file has no version\n"
                            "  hint: begin the file with \"version = 1\"\n");
}

/// They were passed over without a word.
TEST_F(Directory, DropInsThatAreNotReadAreNamed) {
    directory_.write("policy.toml", "version = 1\n");
    for (const char* name :
         {"50-deny.yaml", "60-deny.TOML", "70-deny", "README", "a.toml~", "b.toml.dpkg-old"})
        directory_.write(std::string("policy.d/") + name, "version = 1\n");
    const auto policy = load();
    ASSERT_TRUE(policy) << said(policy);
    EXPECT_EQ(said(policy),
              "policy.d/50-deny.yaml: warning: this file is not read: the names of drop-ins end in .toml\n"
              "  hint: `kmodctl convert` makes a TOML policy of it\n"
              "policy.d/60-deny.TOML: warning: this file is not read: the names of drop-ins end in .toml\n"
              "  hint: rename it, or take it out of the directory\n"
              "policy.d/70-deny: warning: this file is not read: the names of drop-ins end in .toml\n"
              "  hint: rename it, or take it out of the directory\n");
}

TEST_F(Directory, WarnsWhereTheOwnerIsSomebodyElse) {
    const auto main_file = directory_.write("policy.toml", "version = 1\n");
    if (::chown(main_file.c_str(), 12345, static_cast<gid_t>(-1)) != 0)
        GTEST_SKIP() << "only root can give a file away: " << std::strerror(errno);
    const auto policy = load();
    ASSERT_TRUE(policy);
    EXPECT_NE(
        said(policy).find("policy.toml: warning: this policy file belongs to user 12345, who can change it"),
        std::string::npos);
}

} // namespace
} // namespace kmodguard::config
