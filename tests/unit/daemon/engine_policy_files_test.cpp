// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows what the daemon does with policy files: none, broken ones, drop-ins, edits by hand while changes made
// at run time are not saved yet; and what `kmodctl apply` leaves in them.
#include "daemon/engine_fixture.hpp"
#include "sys/file.hpp"

#include <sys/resource.h>

#include <csignal>
#include <functional>
#include <utility>

namespace kmodguard::daemon {
namespace {

using core::Mode;
using sys::ErrorKind;

class EnginePolicyFilesTest : public EngineFixture {
  protected:
    void write_drop_in(const std::string& name, const std::string& text) const {
        tree.write("etc/kmodguard/policy.d/" + name, text);
    }
    std::string path(const std::string& relative) const { return tree / relative; }
};

/// Files take no byte.
class FullDisk {
  public:
    FullDisk() : signal_(std::signal(SIGXFSZ, SIG_IGN)) {
        ::getrlimit(RLIMIT_FSIZE, &before_);
        const rlimit none{.rlim_cur = 0, .rlim_max = before_.rlim_max};
        ::setrlimit(RLIMIT_FSIZE, &none);
    }
    FullDisk(const FullDisk&) = delete;
    FullDisk& operator=(const FullDisk&) = delete;
    ~FullDisk() {
        ::setrlimit(RLIMIT_FSIZE, &before_);
        std::signal(SIGXFSZ, signal_); // NOLINT(cert-err33-c): cannot fail
    }

  private:
    void (*signal_)(int);
    rlimit before_{};
};

/// Reads no policy the first times.
class FailingReader final : public reader::Reader {
  public:
    FailingReader(sys::Paths paths, int times) : reader_(std::move(paths)), left_(times) {}

    sys::Result<compiled::File> index(const std::string& release) override { return reader_.index(release); }
    sys::Result<reader::ReadPolicy> policy() override {
        if (left_-- > 0) return sys::failure(ErrorKind::failed, "the reader failed");
        return reader_.policy();
    }
    sys::Result<std::vector<reader::NewText>> edited(const core::RuntimeChanges& changes) override {
        return reader_.edited(changes);
    }
    sys::Result<Read> read(const std::filesystem::path& image, const Wanted& wanted) override {
        return reader_.read(image, wanted);
    }

  private:
    reader::LocalReader reader_;
    int left_;
};

TEST_F(EnginePolicyFilesTest, StartWithoutAPolicyRefusesEverythingAndSaysWhatToDo) {
    std::filesystem::remove(tree / policy);
    EXPECT_EQ(verdict("kmt_base"), "refuse");
    EXPECT_EQ(engine().generation(), 0U);
    const auto error = engine().status().policy_error.value_or("");
    EXPECT_NE(error.find(path(policy)), std::string::npos) << error;
    const auto reloaded = engine().reload();
    ASSERT_FALSE(reloaded);
    EXPECT_NE(reloaded.error().hint.find("kmodctl init"), std::string::npos) << reloaded.error().hint;
    EXPECT_NE(reloaded.error().hint.find("everything is refused"), std::string::npos)
        << reloaded.error().hint;
}

TEST_F(EnginePolicyFilesTest, StartWithGarbageRefusesEverything) {
    for (const std::string& text :
         {std::string("\0\xff garbage", 10), std::string("version = 1\n[allow]\nmodules = [\"kmt_base\""),
          std::string("version = 9\n"), std::string(5U << 20U, '#')}) {
        tree.write(policy, text);
        restart();
        EXPECT_EQ(verdict("kmt_base"), "refuse");
        EXPECT_TRUE(engine().status().policy_error);
        EXPECT_EQ(engine().generation(), 0U);
    }
}

/// A typing error was an empty allowlist at the next boot.
TEST_F(EnginePolicyFilesTest, StartWithGarbageKeepsThePolicyInForceThatCouldBeUsedLast) {
    ASSERT_EQ(verdict("kmt_base"), "allow");
    tree.write(policy, "version = 1\nmod = 'enforce'\n");
    restart();
    EXPECT_EQ(verdict("kmt_base"), "allow");
    EXPECT_EQ(verdict("kmt_deep"), "refuse");
    EXPECT_EQ(reason("kmt_twin_b"), "denied-module");
    EXPECT_TRUE(engine().status().policy_valid);
    EXPECT_TRUE(engine().status().policy_error->ends_with(":2:1: unknown key \"mod\""));
    EXPECT_EQ(engine().decide("kmt_base", Engine::Known::by_files).rule->line, 7U);
    tree.write(policy, "version = 1\nallow.modules = ['kmt_deep']\n");
    ASSERT_TRUE(engine().reload());
    EXPECT_EQ(verdict("kmt_base"), "refuse");
    EXPECT_FALSE(engine().status().policy_error);
}

TEST_F(EnginePolicyFilesTest, WhatWasChangedAtRunTimeIsNotKeptForTheNextStart) {
    ASSERT_TRUE(engine().allow("kmt_deep"));
    ASSERT_EQ(verdict("kmt_deep"), "allow");
    tree.write(policy, "garbage");
    restart();
    EXPECT_EQ(verdict("kmt_deep"), "refuse");
    EXPECT_EQ(verdict("kmt_base"), "allow");
}

TEST_F(EnginePolicyFilesTest, AStartWithoutAPolicyRefusesEverythingWhateverThereWas) {
    ASSERT_EQ(verdict("kmt_base"), "allow");
    std::filesystem::remove(tree / policy);
    restart();
    EXPECT_EQ(verdict("kmt_base"), "refuse");
    EXPECT_FALSE(engine().status().policy_valid);
}

TEST_F(EnginePolicyFilesTest, WhereAPolicyCannotBeKeptTheOneBeforeItIsNotKeptEither) {
    ASSERT_EQ(verdict("kmt_base"), "allow");
    tree.write(policy, "version = 1\nallow.modules = ['kmt_deep']\n");
    {
        const FullDisk full;
        ASSERT_TRUE(engine().reload());
    }
    tree.write(policy, "garbage");
    restart();
    EXPECT_EQ(verdict("kmt_base"), "refuse");
    EXPECT_FALSE(engine().status().policy_valid);
}

TEST_F(EnginePolicyFilesTest, WhereTheReaderFailsAtTheStartThePolicyIsReadLater) {
    ASSERT_EQ(verdict("kmt_base"), "allow");
    tree.write(policy, "version = 1\nallow.modules = ['kmt_deep']\n");
    FailingReader failing(tree.paths(), 2);
    Engine engine(tree.paths(), test::ModuleTree::release, failing);
    const auto decided = [&engine](const char* token) {
        return engine.decide(token, Engine::Known::by_files).effective();
    };
    EXPECT_EQ(decided("kmt_base"), core::Verdict::allow) << "the policy that could be used last";
    EXPECT_EQ(engine.status().policy_error, "the reader failed");
    EXPECT_TRUE(engine.retry());
    EXPECT_EQ(engine.status().policy_error, "the reader failed");
    EXPECT_TRUE(engine.retry());
    EXPECT_FALSE(engine.status().policy_error);
    EXPECT_EQ(decided("kmt_base"), core::Verdict::refuse);
    EXPECT_EQ(decided("kmt_deep"), core::Verdict::allow);
    EXPECT_FALSE(engine.retry());
}

TEST_F(EnginePolicyFilesTest, AKeptPolicyThatOthersMayHaveWrittenIsNotUsed) {
    ASSERT_EQ(verdict("kmt_base"), "allow");
    tree.write(policy, "garbage");
    std::filesystem::permissions(tree / "var/lib/kmodguard/policy", std::filesystem::perms::others_write,
                                 std::filesystem::perm_options::add);
    restart();
    EXPECT_EQ(verdict("kmt_base"), "refuse");
}

TEST_F(EnginePolicyFilesTest, AKeptIndexThatIsDamagedOrOutdatedIsMadeAgain) {
    const auto kept = "var/lib/kmodguard/index-" + test::ModuleTree::release;
    ASSERT_EQ(verdict("kmt_base"), "allow");
    const std::string whole = tree.read(kept);
    tree.write(kept, whole.substr(0, whole.size() - 1));
    restart();
    EXPECT_EQ(verdict("kmt_base"), "allow");
    EXPECT_EQ(tree.read(kept), whole);
    tree.write("etc/modprobe.d/more.conf", "alias kmt-new kmt_base\n");
    restart();
    EXPECT_EQ(verdict("kmt-new"), "allow");
    EXPECT_NE(tree.read(kept), whole);
}

TEST_F(EnginePolicyFilesTest, IndexesOfKernelsThatAreGoneAreRemoved) {
    tree.write("var/lib/kmodguard/index-6.6.6", "old");
    tree.write("var/lib/kmodguard/other", "stays");
    ASSERT_EQ(verdict("kmt_base"), "allow");
    EXPECT_FALSE(std::filesystem::exists(tree / "var/lib/kmodguard/index-6.6.6"));
    EXPECT_TRUE(std::filesystem::exists(tree / "var/lib/kmodguard/other"));
}

TEST_F(EnginePolicyFilesTest, GarbageLaterKeepsTheOldGenerationInForce) {
    EXPECT_EQ(verdict("kmt_base"), "allow");
    const auto break_it = [this](const std::function<void()>& how) {
        how();
        const auto reloaded = engine().reload();
        ASSERT_FALSE(reloaded);
        EXPECT_NE(reloaded.error().hint.find("the policy in force stays"), std::string::npos)
            << reloaded.error().hint;
        EXPECT_TRUE(engine().status().policy_error);
        EXPECT_EQ(verdict("kmt_base"), "allow");
        EXPECT_EQ(verdict("kmt_deep"), "refuse");
        EXPECT_EQ(engine().generation(), 1U);
    };
    break_it([this] { tree.write(policy, "version = 1\n[allow]\nmodules = [\"kmt_de"); });
    break_it([this] { tree.write(policy, "mode = \"off\"\n"); });
    break_it([this] { std::filesystem::remove(tree / policy); });
    break_it([this] { std::filesystem::create_directory(tree / policy); });
    std::filesystem::remove(tree / policy);
    tree.write(policy, usual_policy);
    write_drop_in("broken.toml", "version = \"one\"\n");
    EXPECT_EQ(engine().reload().error().kind, ErrorKind::bad_policy);
    EXPECT_EQ(verdict("kmt_base"), "allow");
    std::filesystem::remove(tree / "etc/kmodguard/policy.d/broken.toml");
    ASSERT_TRUE(engine().reload());
    EXPECT_EQ(engine().status().policy_error, std::nullopt);
    EXPECT_EQ(engine().generation(), 2U);
}

TEST_F(EnginePolicyFilesTest, AllowStillWorksWhileTheFileIsBroken) {
    tree.write(policy, "garbage");
    EXPECT_EQ(verdict("kmt_base"), "refuse");
    ASSERT_TRUE(engine().allow("kmt_base"));
    EXPECT_EQ(verdict("kmt_base"), "allow");
    EXPECT_EQ(verdict("kmt_after"), "refuse");
    const auto applied = engine().apply();
    ASSERT_FALSE(applied);
    EXPECT_EQ(applied.error().kind, ErrorKind::bad_policy);
    EXPECT_EQ(tree.read(policy), "garbage");
    EXPECT_EQ(engine().status().unsaved_changes, 1U); // not lost
}

TEST_F(EnginePolicyFilesTest, DropInsAddUpAndTheirDenialsWin) {
    write_drop_in("10-more.toml", "version = 1\n[allow]\nmodules = [\"kmt_deep\"]\n");
    write_drop_in("20-less.toml", "version = 1\n[deny]\nmodules = [\"kmt_base\"]\n");
    write_drop_in("ignored.conf", "version = 1\n[allow]\nmodules = [\"kmt_soft\"]\n");
    EXPECT_EQ(verdict("kmt_after"), "allow");
    EXPECT_EQ(reason("kmt_base"), "denied-module");
    EXPECT_EQ(reason("kmt_deep"), "denied-dependency");
    EXPECT_EQ(reason("kmt_soft"), "not-listed");
    EXPECT_EQ(engine().decide("kmt_base", Engine::Known::by_files).rule->file,
              path("etc/kmodguard/policy.d/20-less.toml"));
}

TEST_F(EnginePolicyFilesTest, ReloadKeepsChangesMadeAtRunTimeUnlessTheyAreDiscarded) {
    ASSERT_TRUE(engine().allow("kmt_deep"));
    ASSERT_TRUE(engine().remove("kmt_base"));
    tree.write(policy, "version = 1\n[allow]\nmodules = [\"kmt_base\", \"kmt_soft\"]\n");
    ASSERT_TRUE(engine().reload());
    EXPECT_EQ(verdict("kmt_soft"), "allow");
    EXPECT_EQ(verdict("kmt_deep"), "allow");
    EXPECT_EQ(reason("kmt_base"), "not-listed");
    ASSERT_TRUE(engine().reload(true));
    EXPECT_EQ(verdict("kmt_deep"), "refuse");
    EXPECT_EQ(verdict("kmt_base"), "allow");
    EXPECT_EQ(engine().status().unsaved_changes, 0U);
}

TEST_F(EnginePolicyFilesTest, DiscardOfABrokenFileDiscardsNothing) {
    ASSERT_TRUE(engine().allow("kmt_deep"));
    tree.write(policy, "garbage");
    ASSERT_FALSE(engine().reload(true));
    EXPECT_EQ(verdict("kmt_deep"), "allow");
}

TEST_F(EnginePolicyFilesTest, ApplySavesWhatChangedAndKeepsEveryComment) {
    ASSERT_TRUE(engine().allow("kmt-deep"));
    ASSERT_TRUE(engine().remove("kmt_after"));
    ASSERT_TRUE(engine().deny("kmt_soft"));
    EXPECT_TRUE(engine().set_mode(Mode::audit));
    const auto applied = engine().apply();
    ASSERT_TRUE(applied) << applied.error().what;
    EXPECT_EQ(*applied, std::vector<std::string>{path(policy)});
    EXPECT_EQ(tree.read(policy), "# Kept by hand.\n"
                                 "version = 1\n"
                                 "mode = \"audit\"\n"
                                 "\n"
                                 "[allow]\n"
                                 "modules = [\n"
                                 "    \"kmt_base\", # everything stands on it\n"
                                 "    \"kmt_deep\",\n"
                                 "]\n"
                                 "aliases = [\"kmt-twin-*\"]\n"
                                 "\n"
                                 "[deny]\n"
                                 "modules = [\"kmt_twin_b\", \"kmt_soft\"] # never\n");
    EXPECT_EQ(engine().status().unsaved_changes, 0U);
    restart();
    EXPECT_EQ(engine().policy().mode(), Mode::audit);
    EXPECT_TRUE(engine().policy().denies_module("kmt_soft"));
    EXPECT_TRUE(engine().policy().allows_module("kmt_deep"));
    EXPECT_FALSE(engine().policy().allows_module("kmt_after"));
}

TEST_F(EnginePolicyFilesTest, ApplyOfNothingWritesNothing) {
    const auto before = sys::file_identity(tree / policy).value();
    EXPECT_EQ(verdict("kmt_base"), "allow");
    const auto applied = engine().apply();
    ASSERT_TRUE(applied);
    EXPECT_TRUE(applied->empty());
    EXPECT_TRUE(sys::file_identity(tree / policy).value() == before);
}

TEST_F(EnginePolicyFilesTest, ApplyRemovesFromTheDropInThatListsIt) {
    write_drop_in("10-more.toml", "version = 1\n[allow]\nmodules = [\"kmt_deep\"] # for the lab\n");
    EXPECT_EQ(verdict("kmt_deep"), "allow");
    ASSERT_TRUE(engine().remove("kmt_deep"));
    const auto applied = engine().apply();
    ASSERT_TRUE(applied) << applied.error().what;
    EXPECT_EQ(*applied, std::vector<std::string>{path("etc/kmodguard/policy.d/10-more.toml")});
    EXPECT_EQ(tree.read("etc/kmodguard/policy.d/10-more.toml"),
              "version = 1\n[allow]\nmodules = [] # for the lab\n");
    EXPECT_EQ(tree.read(policy), usual_policy);
    EXPECT_EQ(verdict("kmt_deep"), "refuse");
}

/// Allowed again after a denial was taken off: both lists change, and what is in force is what is saved.
TEST_F(EnginePolicyFilesTest, ApplyOfAllowAfterRemoveOfADenial) {
    ASSERT_TRUE(engine().remove("kmt_twin_b"));
    ASSERT_TRUE(engine().allow("kmt_twin_b"));
    ASSERT_TRUE(engine().apply());
    restart();
    EXPECT_TRUE(engine().policy().allows_module("kmt_twin_b"));
    EXPECT_FALSE(engine().policy().denies_module("kmt_twin_b"));
    EXPECT_EQ(verdict("kmt_twin_b"), "allow");
}

TEST_F(EnginePolicyFilesTest, ApplySavesTheSameAsIsInForceWhateverCameBefore) {
    using Step = sys::Result<void> (Engine::*)(std::string_view);
    const Step steps[] = {&Engine::allow, &Engine::deny, &Engine::remove};
    const std::string modules[] = {"kmt_base", "kmt_twin_b",
                                   "kmt_deep"}; // written as allowed, as denied, not at all
    for (int sequence = 0; sequence < 27; ++sequence)
        for (const std::string& module : modules) {
            tree.write(policy, usual_policy);
            restart();
            for (int rest = sequence, i = 0; i < 3; ++i, rest /= 3)
                static_cast<void>((engine().*steps[rest % 3])(module)); // some fail: deny wins, not found
            const bool allowed = engine().policy().allows_module(module).has_value();
            const bool denied = engine().policy().denies_module(module).has_value();
            const std::string before = verdict(module);
            ASSERT_TRUE(engine().apply()) << module << " sequence " << sequence;
            restart();
            EXPECT_EQ(engine().policy().allows_module(module).has_value(), allowed)
                << module << " sequence " << sequence;
            EXPECT_EQ(engine().policy().denies_module(module).has_value(), denied)
                << module << " sequence " << sequence;
            EXPECT_EQ(verdict(module), before) << module << " sequence " << sequence;
        }
}

} // namespace
} // namespace kmodguard::daemon
