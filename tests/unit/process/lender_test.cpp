// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows what is loaded on behalf of a caller in a user namespace: this machine's own file, judged as always,
// and only where the policy says so. Whoever could gain by asking is refused.
#include "modules/image_packing.hpp"
#include "process/supervised.hpp"
#include "temporary_directory.hpp"

#include <gtest/gtest.h>
#include <linux/capability.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace kmodguard::process {
namespace {

using test::Bytes;
using test::image_of;
using test::PolicyBuilder;
using Strings = std::vector<std::string>;

constexpr std::size_t own_padding = 1000; ///< what this machine's files have more than the callers' images

Bytes own_image(const std::string& name) {
    Bytes image = image_of(name);
    image.resize(image.size() + own_padding);
    return image;
}

std::string_view text_of(const Bytes& bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// Calls from a user namespace that it makes; 99: it could not.
std::function<int()> in_user_namespace(std::function<int()> caller) {
    return [caller = std::move(caller)] { return ::unshare(CLONE_NEWUSER) == 0 ? caller() : 99; };
}

int load(const std::string& name, const char* parameters = "") {
    return test::init_module(image_of(name), parameters);
}

class LenderTest : public ::testing::Test {
  protected:
    void SetUp() override {
        if (!may_lend()) GTEST_SKIP() << "needs CAP_SYS_MODULE in the initial user namespace: to be lent";
        supervised.kernel.answer = 0;
        supervised.index.emplace();
        policy.allow("good").source().user_namespaces = true;
        own("good");
    }
    /// A module of this machine's.
    test::FakeModule& own(const std::string& name) { return own(name, own_image(name)); }
    test::FakeModule& own(const std::string& name, const Bytes& file) {
        return supervised.index->module(name).file(files.write(name + ".ko", text_of(file)));
    }
    int run(const std::function<int()>& caller) {
        return supervised.run(policy.build(), in_user_namespace(caller));
    }
    [[nodiscard]] const events::Attempt& last_event() const { return supervised.log.events.back(); }

    test::TemporaryDirectory files;
    test::Supervised supervised;
    PolicyBuilder policy;
};

TEST_F(LenderTest, LoadsThisMachinesOwnFileWithItsOwnOptions) {
    own("good").options("debug=0");
    EXPECT_EQ(run([] { return load("good"); }), 0);
    EXPECT_EQ(run([] { return test::finit_module(test::file_with(image_of("good")), "", 3); }), 0);
    EXPECT_EQ(supervised.kernel.calls, Strings(2, "finit_module:0 good debug=0"))
        << "the caller's flags are not";
    for (const std::size_t size : supervised.kernel.sizes)
        EXPECT_EQ(size, own_image("good").size()) << "not the caller's bytes";
    EXPECT_NE(last_event().note.find("good.ko, which has other content"), std::string::npos)
        << last_event().note;
    EXPECT_EQ(last_event().answer, "0");
    EXPECT_FALSE(last_event().powerless) << "or a log loses it first";
    EXPECT_FALSE(last_event().withheld);
}

TEST_F(LenderTest, LoadsNothingWhereThePolicyDoesNotSaySo) {
    policy.source().user_namespaces = false;
    EXPECT_EQ(run([] { return load("good"); }), EPERM);
    EXPECT_EQ(supervised.kernel.calls, Strings{});
    EXPECT_NE(last_event().note.find("allow.user_namespaces"), std::string::npos) << last_event().note;
    EXPECT_TRUE(last_event().withheld);
}

TEST_F(LenderTest, IsJudgedAsAlways) {
    own("evil");
    EXPECT_EQ(run([] { return load("evil"); }), EPERM);
    EXPECT_TRUE(last_event().powerless) << "others' records come first";
    policy.deny("good");
    EXPECT_EQ(run([] { return load("good"); }), EPERM);
    EXPECT_EQ(supervised.kernel.calls, Strings{});
}

/// Audit mode lets pass what would load without a guard; without one this would not.
TEST_F(LenderTest, LendsNothingToWhatAuditModeAloneLetsPass) {
    own("evil");
    policy.audit();
    EXPECT_EQ(run([] { return load("evil"); }), EPERM);
    EXPECT_EQ(supervised.kernel.calls, Strings{});
    EXPECT_EQ(run([] { return load("good"); }), 0);
}

TEST_F(LenderTest, TakesNoParametersFromTheCaller) {
    EXPECT_EQ(run([] { return load("good", "debug=1"); }), EPERM);
    EXPECT_EQ(supervised.kernel.calls, Strings{});
    EXPECT_NE(last_event().note.find("no parameters"), std::string::npos) << last_event().note;
}

TEST_F(LenderTest, ServesNoNamespaceThatAUserMade) {
    const auto by_a_user = [] {
        ::setresuid(65534, 65534, 65534);
        return in_user_namespace([] { return load("good"); })();
    };
    EXPECT_EQ(supervised.run(policy.build(), by_a_user), EPERM);
    EXPECT_EQ(supervised.kernel.calls, Strings{});
    EXPECT_NE(last_event().note.find("made by user 65534"), std::string::npos) << last_event().note;
    EXPECT_TRUE(last_event().powerless);
}

TEST_F(LenderTest, ServesOfAContainerItsOwnNamespaceAlone) {
    struct stat own{};
    ASSERT_EQ(::stat("/proc/self/ns/user", &own), 0);
    for (const std::uint64_t only : {std::uint64_t{own.st_ino}, std::uint64_t{0}}) {
        supervised.settings.user_namespace = only;
        EXPECT_EQ(run([] { return load("good"); }), EPERM);
        EXPECT_NE(last_event().note.find("not that of the container"), std::string::npos)
            << last_event().note;
    }
    EXPECT_EQ(supervised.kernel.calls, Strings{});
}

TEST_F(LenderTest, ServesNobodyWithoutTheCapabilityInItsOwnNamespace) {
    EXPECT_EQ(run([] {
                  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
                  const __user_cap_data_struct none[2] = {};
                  if (::syscall(SYS_capset, &header, none) != 0) return 98;
                  return load("good");
              }),
              EPERM);
    EXPECT_EQ(supervised.kernel.calls, Strings{});
}

TEST_F(LenderTest, LoadsFirstWhatTheModuleNeedsAndRecordsEach) {
    own("base").options("size=1");
    own("good").needs("base");
    EXPECT_EQ(run([] { return load("good"); }), 0);
    EXPECT_EQ(supervised.kernel.calls, (Strings{"finit_module:0 base size=1", "finit_module:0 good "}));
    ASSERT_EQ(supervised.log.events.size(), 2U);
    EXPECT_EQ(supervised.log.events[0].decision.modules.at(0).module, "base");
    EXPECT_TRUE(supervised.log.events[0].file.ends_with("base.ko"));
    EXPECT_EQ(supervised.log.events[1].decision.modules.at(0).module, "good");
    EXPECT_EQ(supervised.log.attempts, Strings{"good"}) << "the caller made one attempt";
}

TEST_F(LenderTest, LeavesWhatIsLoadedAlready) {
    own("base");
    own("good").needs("base", "part");
    supervised.index->module("part").built_in();
    supervised.kernel.there = {"base"};
    EXPECT_EQ(run([] { return load("good"); }), 0);
    EXPECT_EQ(supervised.kernel.calls, Strings{"finit_module:0 good "});
    supervised.kernel.there = {"base", "good"};
    EXPECT_EQ(run([] { return load("good"); }), EEXIST);
    EXPECT_TRUE(last_event().powerless) << "it may try that as often as it likes";
    EXPECT_EQ(supervised.kernel.calls.size(), 1U);
    supervised.kernel.there = {};
    supervised.kernel.answers["base"] = EEXIST; // another loads it meanwhile
    EXPECT_EQ(run([] { return load("good"); }), 0);
}

TEST_F(LenderTest, LoadsNothingOfAModuleOfWhichAPartIsNotAdmitted) {
    own("base");
    own("good").needs("base");
    policy.without_dependencies();
    EXPECT_EQ(run([] { return load("good"); }), EPERM);
    EXPECT_EQ(supervised.kernel.calls, Strings{});
    EXPECT_NE(last_event().note.find("base"), std::string::npos) << last_event().note;
    policy.audit();
    EXPECT_EQ(run([] { return load("good"); }), EPERM);
    EXPECT_EQ(supervised.kernel.calls, Strings{});
    own("good").needs("base", "missing");
    EXPECT_EQ(run([] { return load("good"); }), EPERM);
    EXPECT_NE(last_event().note.find("no file of missing"), std::string::npos) << last_event().note;
    EXPECT_EQ(supervised.kernel.calls, Strings{});
}

TEST_F(LenderTest, HandsBackWhatTheKernelSaysOfThatWhichIsNeeded) {
    own("base");
    own("good").needs("base");
    supervised.kernel.answers["base"] = ENODEV;
    EXPECT_EQ(run([] { return load("good"); }), ENODEV);
    EXPECT_EQ(supervised.kernel.calls, Strings{"finit_module:0 base "});
    EXPECT_EQ(last_event().decision.modules.at(0).module, "good");
    EXPECT_NE(last_event().note.find("base"), std::string::npos) << last_event().note;
}

TEST_F(LenderTest, JudgesThisMachinesOwnFileByWhatIsInIt) {
    own("good", own_image("evil"));
    EXPECT_EQ(run([] { return load("good"); }), EPERM);
    policy.allow("another");
    own("good", own_image("another"));
    EXPECT_EQ(run([] { return load("good"); }), EPERM) << "allowed, and not what was asked for";
    own("good", test::to_bytes("no module"));
    EXPECT_EQ(run([] { return load("good"); }), EPERM);
    own("good").file("/nowhere/good.ko");
    EXPECT_EQ(run([] { return load("good"); }), EPERM);
    EXPECT_EQ(supervised.kernel.calls, Strings{});
}

TEST_F(LenderTest, UnpacksThisMachinesOwnFile) {
    for (const auto container :
         {modules::Container::gzip, modules::Container::xz, modules::Container::zstd}) {
        own("good", test::pack(own_image("good"), container));
        EXPECT_EQ(run([] { return load("good"); }), 0);
        EXPECT_EQ(supervised.kernel.sizes.back(), own_image("good").size());
    }
}

TEST_F(LenderTest, RunsNoCommandOfModprobeD) {
    own("good").install_command("/bin/true");
    EXPECT_EQ(run([] { return load("good"); }), EPERM);
    EXPECT_NE(last_event().note.find("modprobe.d"), std::string::npos) << last_event().note;
    EXPECT_EQ(supervised.kernel.calls, Strings{});
}

TEST_F(LenderTest, HasNothingToLendWithoutTheModulesOfThisMachine) {
    supervised.index.reset();
    EXPECT_EQ(run([] { return load("good"); }), EPERM);
    EXPECT_EQ(supervised.kernel.calls, Strings{});
}

TEST_F(LenderTest, SaysOfWhatIsNoModuleWhatTheKernelWould) {
    EXPECT_EQ(run([] { return test::init_module(test::to_bytes("no module at all")); }), ENOEXEC);
    EXPECT_EQ(supervised.kernel.calls, Strings{});
}

} // namespace
} // namespace kmodguard::process
