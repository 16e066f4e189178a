// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows what arming and disarming leave in the kernel's setting and in the saved state, whatever they find
// there; above all that the handler there was before is never lost, and that the hook never takes its place.
#include "enforce/autoload/handler.hpp"
#include "installation.hpp"
#include "module_tree.hpp"
#include "sys/kernel.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>

namespace kmodguard::autoload {
namespace {

using sys::ErrorKind;

const std::string hook = installation::hook;

class HandlerTest : public ::testing::Test {
  protected:
    static constexpr const char* setting = "proc/sys/kernel/modprobe";
    static constexpr const char* saved = "run/kmodguard/original_modprobe";

    void set(const std::string& handler) const { root.write(setting, handler + "\n"); }
    void install(const std::string& program) const {
        root.write(program.substr(1), "#!/bin/sh\n");
        ASSERT_EQ(::chmod((root / program.substr(1)).c_str(), 0755), 0);
    }
    std::string current() const { return root.read(setting); }
    std::string original() const { return root.read(saved); } ///< "" if there is none
    bool is_saved() const { return std::filesystem::exists(root / saved); }
    sys::Result<ArmResult> arm_it() const { return arm(root.paths()); }
    sys::Result<DisarmResult> disarm_it(bool force = false) const { return disarm(root.paths(), force); }
    HandlerStatus status() const { return handler_status(root.paths()).value(); }

    test::ModuleTree root;
};

TEST_F(HandlerTest, ArmSavesTheHandlerAndSetsTheHook) {
    set("/sbin/modprobe");
    const auto armed = arm_it();
    ASSERT_TRUE(armed) << armed.error().what;
    EXPECT_TRUE(armed->changed);
    EXPECT_EQ(armed->original, "/sbin/modprobe");
    EXPECT_EQ(armed->warning, "");
    EXPECT_EQ(current(), hook + "\n");
    EXPECT_EQ(original(), "/sbin/modprobe\n");
    EXPECT_TRUE(status().armed);
    EXPECT_EQ(describe(status()), "armed, instead of /sbin/modprobe");
    struct stat file{};
    ASSERT_EQ(::stat((root / saved).c_str(), &file), 0);
    EXPECT_EQ(file.st_mode & 07777U, 0644U); // kmodctl status is for everybody
}

TEST_F(HandlerTest, ArmMakesTheRuntimeDirectory) {
    std::filesystem::remove_all(root / "run/kmodguard");
    set("/sbin/modprobe");
    ASSERT_TRUE(arm_it());
    EXPECT_EQ(original(), "/sbin/modprobe\n");
}

TEST_F(HandlerTest, ArmedTwiceChangesNothingAndNeverSavesTheHook) {
    set("/opt/own-modprobe");
    ASSERT_TRUE(arm_it());
    const auto again = arm_it();
    ASSERT_TRUE(again);
    EXPECT_FALSE(again->changed);
    EXPECT_EQ(again->original, "/opt/own-modprobe");
    EXPECT_EQ(original(), "/opt/own-modprobe\n");
    EXPECT_EQ(current(), hook + "\n");
}

TEST_F(HandlerTest, SavedHandlerIsNeverOverwritten) {
    set("/sbin/modprobe");
    ASSERT_TRUE(arm_it());
    set("/tmp/evil");
    EXPECT_TRUE(status().taken_away());
    EXPECT_NE(describe(status()).find("NOT armed: another process has set the handler to /tmp/evil"),
              std::string::npos);
    const auto again = arm_it();
    ASSERT_TRUE(again);
    EXPECT_TRUE(again->changed);
    EXPECT_EQ(again->warning, "the handler had been changed to /tmp/evil");
    EXPECT_EQ(original(), "/sbin/modprobe\n");
    EXPECT_EQ(current(), hook + "\n");
}

TEST_F(HandlerTest, LostSavedStateIsMadeUpForByAModprobeThatExists) {
    set(hook);
    EXPECT_NE(describe(status()).find("the original handler is lost"), std::string::npos);
    install("/usr/sbin/modprobe");
    const auto armed = arm_it();
    ASSERT_TRUE(armed) << armed.error().what;
    EXPECT_FALSE(armed->changed);
    EXPECT_EQ(armed->original, "/usr/sbin/modprobe");
    EXPECT_NE(armed->warning.find("was lost"), std::string::npos);
    EXPECT_EQ(original(), "/usr/sbin/modprobe\n");
}

TEST_F(HandlerTest, LostSavedStateWithoutAnyModprobeIsAnErrorAndStaysArmed) {
    set(hook);
    const auto armed = arm_it();
    ASSERT_FALSE(armed);
    EXPECT_EQ(armed.error().kind, ErrorKind::not_found);
    EXPECT_EQ(armed.error().hint, "install kmod");
    EXPECT_EQ(current(), hook + "\n");
    EXPECT_FALSE(is_saved());
}

TEST_F(HandlerTest, EmptyHandlerStaysEmpty) {
    set("");
    EXPECT_TRUE(status().disabled());
    EXPECT_NE(describe(status()).find("autoloading is switched off"), std::string::npos);
    const auto armed = arm_it();
    ASSERT_TRUE(armed);
    EXPECT_FALSE(armed->changed);
    EXPECT_NE(armed->warning, "");
    EXPECT_EQ(current(), "\n");
    EXPECT_FALSE(is_saved());
}

TEST_F(HandlerTest, DisarmPutsBackExactlyWhatWasThere) {
    set("/opt/own modprobe");
    ASSERT_TRUE(arm_it());
    const auto disarmed = disarm_it();
    ASSERT_TRUE(disarmed) << disarmed.error().what;
    EXPECT_TRUE(disarmed->changed);
    EXPECT_EQ(disarmed->handler, "/opt/own modprobe");
    EXPECT_EQ(current(), "/opt/own modprobe\n");
    EXPECT_FALSE(is_saved());
    EXPECT_EQ(describe(status()), "not armed: the kernel runs /opt/own modprobe");
}

/// An empty one was put back, which switched autoloading off; the hook itself would have run itself for ever.
TEST_F(HandlerTest, SavedStateThatIsNoHandlerCountsAsLost) {
    set(hook);
    for (const std::string& text : {std::string(), std::string("modprobe\n"), hook + "\n"}) {
        root.write(saved, text);
        EXPECT_FALSE(status().original) << text;
        EXPECT_FALSE(disarm_it()) << text;
        EXPECT_EQ(current(), hook + "\n");
    }
}

TEST_F(HandlerTest, DisarmedTwiceIsFine) {
    set("/sbin/modprobe");
    ASSERT_TRUE(arm_it());
    ASSERT_TRUE(disarm_it());
    const auto again = disarm_it();
    ASSERT_TRUE(again);
    EXPECT_FALSE(again->changed);
    EXPECT_EQ(again->handler, "/sbin/modprobe");
    EXPECT_EQ(current(), "/sbin/modprobe\n");
}

TEST_F(HandlerTest, DisarmLeavesAForeignHandlerAndSaysSo) {
    set("/sbin/modprobe");
    ASSERT_TRUE(arm_it());
    set("/opt/other-guard");
    const auto disarmed = disarm_it();
    ASSERT_TRUE(disarmed);
    EXPECT_FALSE(disarmed->changed);
    EXPECT_NE(disarmed->warning.find("/opt/other-guard"), std::string::npos);
    EXPECT_EQ(current(), "/opt/other-guard\n");
    EXPECT_FALSE(is_saved());
}

TEST_F(HandlerTest, DisarmWithLostStateFailsAndStaysArmed) {
    install("/sbin/modprobe");
    set(hook);
    const auto disarmed = disarm_it();
    ASSERT_FALSE(disarmed);
    EXPECT_EQ(disarmed.error().kind, ErrorKind::not_found);
    EXPECT_NE(disarmed.error().hint.find("--force"), std::string::npos);
    EXPECT_EQ(current(), hook + "\n");
}

TEST_F(HandlerTest, ForcedDisarmWithLostStateSetsAModprobeThatExists) {
    set(hook);
    const auto none = disarm_it(true);
    ASSERT_FALSE(none);
    EXPECT_EQ(none.error().kind, ErrorKind::not_found);
    EXPECT_EQ(current(), hook + "\n");
    install("/usr/bin/modprobe");
    const auto disarmed = disarm_it(true);
    ASSERT_TRUE(disarmed);
    EXPECT_TRUE(disarmed->changed);
    EXPECT_EQ(current(), "/usr/bin/modprobe\n");
}

TEST_F(HandlerTest, ForcedDisarmStillPrefersTheSavedHandler) {
    install("/sbin/modprobe");
    set("/opt/own-modprobe");
    ASSERT_TRUE(arm_it());
    ASSERT_TRUE(disarm_it(true));
    EXPECT_EQ(current(), "/opt/own-modprobe\n");
}

TEST_F(HandlerTest, ForcedDisarmReplacesAForeignHandler) {
    set("/sbin/modprobe");
    ASSERT_TRUE(arm_it());
    set("/opt/other-guard");
    ASSERT_TRUE(disarm_it(true));
    EXPECT_EQ(current(), "/sbin/modprobe\n");
    EXPECT_FALSE(is_saved());
}

TEST_F(HandlerTest, KernelWithoutTheSetting) {
    EXPECT_EQ(describe(status()), "this kernel has no module loading");
    const auto armed = arm_it();
    ASSERT_FALSE(armed);
    EXPECT_EQ(armed.error().kind, ErrorKind::not_found);
    EXPECT_FALSE(is_saved());
    const auto disarmed = disarm_it();
    ASSERT_TRUE(disarmed);
    EXPECT_FALSE(disarmed->changed);
    EXPECT_FALSE(std::filesystem::exists(root / setting));
}

TEST_F(HandlerTest, StaticUsermodeHelperIsNoticedInTheKernelsConfiguration) {
    set("/sbin/modprobe");
    const std::string config = "boot/config-" + sys::kernel_release();
    for (const char* other : {"CONFIG_MODULES=y\n# CONFIG_STATIC_USERMODEHELPER is not set\n",
                              "# see CONFIG_STATIC_USERMODEHELPER=y\n", ""}) {
        root.write(config, other);
        EXPECT_FALSE(status().static_helper) << other;
    }
    root.write(config,
               "CONFIG_MODULES=y\nCONFIG_STATIC_USERMODEHELPER=y\nCONFIG_STATIC_USERMODEHELPER_PATH=\"\"\n");
    EXPECT_TRUE(status().static_helper);
    EXPECT_NE(describe(status()).find("not guarded"), std::string::npos);
    const auto armed = arm_it();
    ASSERT_TRUE(armed);
    EXPECT_NE(armed->warning.find("CONFIG_STATIC_USERMODEHELPER"), std::string::npos);
}

TEST_F(HandlerTest, SettingThatCannotBeReadIsAnErrorAndNotTakenForMissing) {
    std::filesystem::create_directory(root / setting);
    EXPECT_FALSE(handler_status(root.paths()));
    EXPECT_FALSE(arm_it());
    EXPECT_FALSE(is_saved());
}

TEST_F(HandlerTest, OriginalThatCannotBeSavedLeavesTheKernelAsItWas) {
    set("/sbin/modprobe");
    std::filesystem::remove_all(root / "run");
    root.write("run", "a file in the way");
    EXPECT_FALSE(arm_it());
    EXPECT_EQ(current(), "/sbin/modprobe\n");
}

} // namespace
} // namespace kmodguard::autoload
