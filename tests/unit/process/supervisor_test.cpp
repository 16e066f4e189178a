// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows what a supervised process is told and what reaches the kernel in its stead: the judged bytes, and
// nothing else. The kernel behind the supervisor is a made-up one, so the callers need no privilege but what
// is checked of them.
#include "process/supervised.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <thread>

namespace kmodguard::process {
namespace {

using test::file_with;
using test::finit_module;
using test::image_of;
using test::init_module;
using test::PolicyBuilder;
using Strings = std::vector<std::string>;

/// Whether a caller of this test would get past the check of its privileges.
bool is_privileged() {
    return Caller(::getpid()).may_load().has_value();
}

class SupervisorTest : public ::testing::Test {
  protected:
    int run(const std::function<int()>& caller) {
        return supervised.run(PolicyBuilder().allow("good").build(), caller);
    }
    /// What reached the kernel, if callers here may load at all; none if not.
    static Strings if_privileged(Strings calls) { return is_privileged() ? calls : Strings{}; }
    static int errno_if_privileged(int error) { return is_privileged() ? error : EPERM; }

    test::Supervised supervised;
};

TEST_F(SupervisorTest, LoadsWhatIsAllowedWithTheCallersParametersAndFlags) {
    const auto good = image_of("good");
    EXPECT_EQ(run([&] { return init_module(good, "a=1 b=\"x y\""); }), errno_if_privileged(ENOEXEC));
    EXPECT_EQ(run([&] { return finit_module(file_with(good), "c=2", 3); }), errno_if_privileged(ENOEXEC));
    EXPECT_EQ(supervised.kernel.calls,
              if_privileged({"init_module good a=1 b=\"x y\"", "finit_module:3 good c=2"}));
    supervised.kernel.answer = 0;
    EXPECT_EQ(run([&] { return init_module(good); }), errno_if_privileged(0));
}

TEST_F(SupervisorTest, RefusesWhatIsNotAndLoadsNothing) {
    const auto evil = image_of("evil");
    EXPECT_EQ(run([&] { return init_module(evil); }), EPERM);
    EXPECT_EQ(run([&] { return finit_module(file_with(evil)); }), EPERM);
    EXPECT_EQ(supervised.kernel.calls, Strings{});
    ASSERT_EQ(supervised.log.events.size(), 2U);
    const events::Attempt& event = supervised.log.events[1];
    EXPECT_EQ(event.point, core::Point::process);
    EXPECT_EQ(event.call, "finit_module");
    EXPECT_EQ(event.answer, "EPERM");
    EXPECT_EQ(event.decision.reason, core::Reason::not_listed);
    EXPECT_EQ(event.decision.modules.at(0).module, "evil");
    EXPECT_TRUE(event.sha256.has_value());
    ASSERT_TRUE(event.requester.has_value());
    EXPECT_EQ(event.requester->uid, ::getuid());
    EXPECT_EQ(supervised.log.attempts, (Strings{"evil", "evil"}));
}

/// EPERM and a refusal in the log, where insmod by itself says "File exists" and scripts go on.
TEST_F(SupervisorTest, OfALoadedModuleThatNoRuleAllowsItSaysThatItExists) {
    supervised.kernel.there = {"evil", "good", "bad"};
    EXPECT_EQ(run([] { return init_module(image_of("evil")); }), errno_if_privileged(EEXIST));
    EXPECT_EQ(run([] { return finit_module(file_with(image_of("other"))); }), EPERM);
    EXPECT_EQ(supervised.kernel.calls, Strings{});
    if (is_privileged()) {
        const events::Attempt& event = supervised.log.events.at(0);
        EXPECT_EQ(event.answer, "EEXIST");
        EXPECT_EQ(event.decision.reason, core::Reason::already_loaded);
        EXPECT_EQ(event.decision.effective(), core::Verdict::allow);
        EXPECT_FALSE(event.decision.will_load());
    }
    // What a rule refuses stays refused, and pretending is as before.
    EXPECT_EQ(
        supervised.run(PolicyBuilder().deny("bad").build(), [] { return init_module(image_of("bad")); }),
        EPERM);
    supervised.answer = core::CallerAnswer::pretend;
    EXPECT_EQ(run([] { return init_module(image_of("evil")); }), 0);
}

TEST_F(SupervisorTest, PretendsSuccessAndLoadsNothing) {
    supervised.answer = core::CallerAnswer::pretend;
    EXPECT_EQ(run([] { return init_module(image_of("evil")); }), 0);
    EXPECT_EQ(supervised.kernel.calls, Strings{});
    EXPECT_EQ(supervised.log.events.at(0).answer, "0");
    EXPECT_EQ(supervised.log.events.at(0).decision.effective(), core::Verdict::refuse);
}

TEST_F(SupervisorTest, LeavesWhatIsNoModuleToTheKernelWhateverThePolicySays) {
    // As busybox does it: packed, and without the flag. If it is told of success it does not unpack it.
    test::Bytes packed(100);
    std::memcpy(packed.data(),
                "\xFD"
                "7zXZ",
                6);
    for (const core::CallerAnswer answer : {core::CallerAnswer::refuse, core::CallerAnswer::pretend}) {
        supervised.answer = answer;
        for (const int flags : {0, 1, 3})
            EXPECT_EQ(run([&] { return finit_module(file_with(packed), "", flags); }),
                      errno_if_privileged(ENOEXEC));
        EXPECT_EQ(run([&] { return init_module(packed); }), errno_if_privileged(ENOEXEC));
    }
    for (const events::Attempt& event : supervised.log.events) {
        EXPECT_EQ(event.decision.reason, core::Reason::not_a_module);
        EXPECT_EQ(event.decision.effective(), core::Verdict::refuse);
    }
    EXPECT_EQ(supervised.kernel.calls.size(), if_privileged(Strings(8)).size());
}

TEST_F(SupervisorTest, AnswersByThePolicyWhatTheKernelMightUnpack) {
    const test::Bytes unknown(100);
    for (const int flags : {4, 7, 8, 1 << 30})
        EXPECT_EQ(run([&] { return finit_module(file_with(unknown), "", flags); }), EPERM) << flags;
    EXPECT_EQ(supervised.kernel.calls, Strings{});
}

TEST(MemoryBudgetTest, WhatIsNotLeftIsNotGivenAndComesBack) {
    process::MemoryBudget budget(100);
    auto most = budget.take_at_once(60);
    ASSERT_TRUE(most);
    EXPECT_FALSE(budget.take_at_once(41));
    const auto rest = budget.take_at_once(40);
    EXPECT_TRUE(rest);
    EXPECT_FALSE(budget.take_at_once(1));
    most.reset();
    EXPECT_TRUE(budget.take(60));
}

/// Three containers in which nobody may load anything took their agent to 799 MiB.
TEST_F(SupervisorTest, CallersThatMayLoadNothingShareLittleMemoryAndDoNotWaitForIt) {
    const auto budget = std::make_shared<process::MemoryBudget>(supervised.settings.limits.powerless_memory);
    supervised.settings.powerless = budget;
    const auto other = budget->take_at_once(supervised.settings.limits.powerless_memory);
    const auto powerless_caller = [] {
        if (is_privileged()) ::setresuid(65534, 65534, 65534);
        return init_module(image_of("good"));
    };
    EXPECT_EQ(run(powerless_caller), EPERM);
    EXPECT_TRUE(supervised.log.events.at(0).decision.modules.at(0).detail.contains("too many callers"));
}

TEST_F(SupervisorTest, SaysWhatTheKernelWouldSayOfWhatIsNoImage) {
    EXPECT_EQ(run([] { return finit_module(-1); }), EBADF);
    EXPECT_EQ(run([] { return finit_module(999); }), EBADF);
    EXPECT_EQ(run([] { return finit_module(::open("/", O_RDONLY)); }), EINVAL);
    EXPECT_EQ(run([] { return finit_module(::open("/dev/null", O_RDONLY)); }), EINVAL);
    EXPECT_EQ(run([] { return finit_module(::open("/proc/self/exe", O_PATH)); }), EBADF);
    EXPECT_EQ(run([] { return finit_module(file_with({})); }), EINVAL);
    EXPECT_EQ(run([] { return init_module(nullptr, 4096, ""); }), EFAULT);
    EXPECT_EQ(run([] { return init_module("x", 0, ""); }), ENOEXEC);
    EXPECT_EQ(run([] { return init_module("x", std::size_t{1} << 40U, ""); }), EFBIG);
    EXPECT_EQ(run([] { return init_module("x", ~std::size_t{0}, ""); }), EFBIG);
    EXPECT_EQ(supervised.kernel.calls, Strings{});
    EXPECT_EQ(supervised.log.events.size(), 10U);
}

TEST_F(SupervisorTest, TakesParametersUpToTheirEndAndNoLonger) {
    const auto good = image_of("good");
    const auto at_the_end_of_a_mapping = [&](bool terminated) {
        const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
        char* two = static_cast<char*>(
            ::mmap(nullptr, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        ::munmap(two + page, page);
        char* text = two + page - 4;
        std::memcpy(text, terminated ? "p=1" : "p=12", 4);
        return init_module(good, text);
    };
    EXPECT_EQ(run([&] { return at_the_end_of_a_mapping(true); }), errno_if_privileged(ENOEXEC));
    EXPECT_EQ(supervised.kernel.calls, if_privileged({"init_module good p=1"}));
    EXPECT_EQ(run([&] { return at_the_end_of_a_mapping(false); }), errno_if_privileged(EFAULT));
    EXPECT_EQ(run([&] { return init_module(good, nullptr); }), errno_if_privileged(EFAULT));
    EXPECT_EQ(run([&] { return init_module(good, std::string(max_parameters, 'x').c_str()); }),
              errno_if_privileged(ENOEXEC));
    EXPECT_EQ(run([&] { return init_module(good, std::string(max_parameters + 1, 'x').c_str()); }),
              errno_if_privileged(E2BIG));
    EXPECT_EQ(supervised.kernel.calls.size(), if_privileged({"", ""}).size());
}

TEST_F(SupervisorTest, AllowsNothingToACallerThatCouldNotDoItItself) {
    if (!is_privileged())
        GTEST_SKIP() << "needs CAP_SYS_MODULE in the initial user namespace: to be given up";
    const auto without_capability = [] {
        ::setresuid(65534, 65534, 65534); // the filter came with the right to do without no_new_privs
        return init_module(image_of("good"));
    };
    EXPECT_EQ(run(without_capability), EPERM);
    const auto in_another_namespace = [] {
        if (::unshare(CLONE_NEWUSER) != 0) return 99;
        return init_module(image_of("good"));
    };
    EXPECT_EQ(run(in_another_namespace), EPERM);
    EXPECT_EQ(supervised.kernel.calls, Strings{});
    EXPECT_NE(supervised.log.events.at(0).note.find("CAP_SYS_MODULE"), std::string::npos);
    EXPECT_NE(supervised.log.events.at(1).note.find("user namespace"), std::string::npos);
    for (const events::Attempt& event : supervised.log.events) {
        EXPECT_EQ(event.decision.judged, core::Verdict::allow);
        EXPECT_TRUE(events::is_notable(event)) << "or nobody is told why an allowed module does not load";
    }
}

TEST_F(SupervisorTest, RecordsUnloadingAndForbidsItWhereThePolicyDoes) {
    const auto unload = [] { return ::syscall(SYS_delete_module, "good", O_NONBLOCK) == 0 ? 0 : errno; };
    EXPECT_EQ(run(unload), errno_if_privileged(ENOEXEC));
    EXPECT_EQ(supervised.kernel.calls, if_privileged({"delete_module:2048 good"}));
    PolicyBuilder strict;
    strict.source().unload_denied = true;
    EXPECT_EQ(supervised.run(strict.build(), unload), EPERM);
    ASSERT_EQ(supervised.log.events.size(), 2U);
    EXPECT_EQ(supervised.log.events[0].decision.reason, core::Reason::unload);
    EXPECT_EQ(supervised.log.events[1].decision.reason, core::Reason::denied_unload);
    EXPECT_EQ(supervised.log.events[1].decision.modules.at(0).module, "good");
    EXPECT_EQ(supervised.log.attempts, Strings{});
}

TEST_F(SupervisorTest, KeepsTheOrderOfAttempts) {
    Strings expected;
    EXPECT_EQ(run([] {
                  for (int i = 0; i < 50; ++i)
                      init_module(image_of("module_" + std::to_string(i)));
                  return 0;
              }),
              0);
    for (int i = 0; i < 50; ++i)
        expected.push_back("module_" + std::to_string(i));
    EXPECT_EQ(supervised.log.attempts, expected);
}

TEST_F(SupervisorTest, AnswersManyAtOnceWithLittleRoom) {
    supervised.settings.limits = {.image_bytes = 4096, .memory = 4096, .threads = 3};
    EXPECT_EQ(run([] {
                  std::vector<std::thread> callers;
                  std::atomic<int> refused = 0;
                  for (int i = 0; i < 20; ++i)
                      callers.emplace_back(
                          [&refused] { refused += init_module(image_of("evil")) == EPERM ? 1 : 0; });
                  for (auto& caller : callers)
                      caller.join();
                  return refused.load();
              }),
              20);
    EXPECT_EQ(supervised.log.told(), 20U);
    EXPECT_EQ(run([] { return init_module(std::string(4097, 'x').c_str(), 4097, ""); }), EFBIG);
}

/// A thread may have descriptors of its own: the image is that of the thread which calls.
TEST_F(SupervisorTest, TakesTheDescriptorOfTheThreadThatCalls) {
    const auto by_a_thread_of_its_own = [] {
        int result = 99;
        const int file = file_with(image_of("good"));
        std::thread([&] {
            if (::unshare(CLONE_FILES) != 0) return;
            ::dup2(file_with(image_of("evil")), file);
            result = finit_module(file);
        }).join();
        return result;
    };
    EXPECT_EQ(run(by_a_thread_of_its_own), EPERM);
    EXPECT_EQ(supervised.kernel.calls, Strings{});
    EXPECT_EQ(supervised.log.attempts, Strings{"evil"});
}

TEST_F(SupervisorTest, OutlivesACallerThatIsKilled) {
    const auto killed = [] {
        const pid_t child = ::fork();
        if (child == 0) {
            for (;;)
                init_module(image_of("evil"));
        }
        init_module(image_of("evil"));
        ::kill(child, SIGKILL);
        ::waitpid(child, nullptr, 0);
        return init_module(image_of("evil"));
    };
    EXPECT_EQ(run(killed), EPERM);
    EXPECT_EQ(supervised.kernel.calls, Strings{});
}

} // namespace
} // namespace kmodguard::process
