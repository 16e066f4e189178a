// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows that a change of kernel.modprobe behind the guard's back is told, once, and that arming and disarming
// are not taken for one.
#include "daemon/watches.hpp"
#include "installation.hpp"
#include "temporary_directory.hpp"

#include <gtest/gtest.h>

namespace kmodguard::daemon {
namespace {

using Occasion = HandlerWatch::Occasion;

class HandlerWatchTest : public ::testing::Test {
  protected:
    HandlerWatchTest() {
        std::filesystem::create_directories(root / "proc/sys/kernel");
        std::filesystem::create_directories(root / "run/kmodguard");
        set(installation::hook);
        save("/sbin/modprobe");
    }
    void set(const std::string& handler) const { root.write("proc/sys/kernel/modprobe", handler + "\n"); }
    void save(const std::string& handler) const {
        root.write("run/kmodguard/original_modprobe", handler + "\n");
    }

    test::TemporaryDirectory root;
    HandlerWatch watch{sys::Paths(root.path())};
};

TEST_F(HandlerWatchTest, TellsAForeignHandlerOnce) {
    EXPECT_FALSE(watch.look(Occasion::request));
    set("/tmp/evil");
    EXPECT_EQ(watch.look(Occasion::request), "/tmp/evil");
    EXPECT_FALSE(watch.look(Occasion::request));
    EXPECT_FALSE(watch.look(Occasion::timer));
    set("/tmp/worse");
    EXPECT_EQ(watch.look(Occasion::timer), "/tmp/worse");
    set("");
    EXPECT_EQ(watch.look(Occasion::timer), "");
    set(installation::hook);
    EXPECT_FALSE(watch.look(Occasion::timer));
    set("/tmp/evil");
    EXPECT_EQ(watch.look(Occasion::timer), "/tmp/evil") << "again";
}

/// Between the two steps of arming and of disarming it looks the same.
TEST_F(HandlerWatchTest, TellsTheOriginalHandlerThatStays) {
    set("/sbin/modprobe");
    EXPECT_FALSE(watch.look(Occasion::request));
    EXPECT_FALSE(watch.look(Occasion::timer));
    EXPECT_FALSE(watch.look(Occasion::request));
    EXPECT_EQ(watch.look(Occasion::timer), "/sbin/modprobe");
    EXPECT_FALSE(watch.look(Occasion::timer));
}

TEST_F(HandlerWatchTest, DisarmedIsNoChangeFromOutside) {
    set("/sbin/modprobe");
    EXPECT_FALSE(watch.look(Occasion::timer));
    std::filesystem::remove(root / "run/kmodguard/original_modprobe");
    EXPECT_FALSE(watch.look(Occasion::timer));
    EXPECT_FALSE(watch.look(Occasion::timer));
    save("/sbin/modprobe"); // being armed again
    EXPECT_FALSE(watch.look(Occasion::timer));
}

} // namespace
} // namespace kmodguard::daemon
