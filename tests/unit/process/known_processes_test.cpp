// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows that a process which is known is recorded as it would be if all of it were read at each call: the
// oracle is Caller::requester(), which does. Between two looks the process changes what it can.
#include "enforce/process/known_processes.hpp"
#include "temporary_directory.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <filesystem>
#include <functional>
#include <thread>

namespace kmodguard::process {
namespace {

/// A child that does what it is told, and waits. What it cannot do, for want of rights, changes nothing.
class Stepping {
  public:
    using Step = std::function<void(const Stepping& self)>;

    explicit Stepping(std::vector<Step> steps, pid_t wanted = 0) {
        if (::pipe(go_.data()) != 0 || ::pipe(done_.data()) != 0) throw std::runtime_error("no pipe");
        clone_args arguments{};
        arguments.exit_signal = SIGCHLD;
        if (wanted != 0) {
            arguments.set_tid = reinterpret_cast<std::uintptr_t>(&wanted);
            arguments.set_tid_size = 1;
        }
        pid_ = static_cast<pid_t>(::syscall(SYS_clone3, &arguments, sizeof arguments));
        if (pid_ == 0) run(steps);
    }
    Stepping(const Stepping&) = delete;
    Stepping& operator=(const Stepping&) = delete;
    ~Stepping() {
        end();
        for (const int end : {go_[0], go_[1], done_[0], done_[1]})
            ::close(end);
    }
    void next() const {
        char byte = '\n';
        ASSERT_EQ(::write(go_[1], &byte, 1), 1);
        ASSERT_EQ(::read(done_[0], &byte, 1), 1);
    }
    void end() {
        if (pid_ <= 0) return;
        ::kill(pid_, SIGKILL);
        ::waitpid(pid_, nullptr, 0);
        pid_ = 0;
    }
    [[nodiscard]] pid_t pid() const { return pid_; }
    /// Becomes `program`, a shell, which then waits as the child did.
    void execute(const std::string& program) const {
        const std::string text = fmt::format("printf . >&{}; read line <&{}", done_[1], go_[0]);
        ::execl(program.c_str(), program.c_str(), "-c", text.c_str(), nullptr);
    }

  private:
    [[noreturn]] void run(const std::vector<Step>& steps) const {
        char byte = 0;
        for (const Step& step : steps) {
            if (::read(go_[0], &byte, 1) != 1) ::_exit(1);
            step(*this);
            if (::write(done_[1], &byte, 1) != 1) ::_exit(1);
        }
        while (true)
            ::pause();
    }

    std::array<int, 2> go_{};
    std::array<int, 2> done_{};
    pid_t pid_ = 0;
};

std::string text_of(const events::Requester& by, bool has_capability) {
    return fmt::format("{} {} {} {} {} {} {} {}", by.pid, by.uid.value_or(99), by.user_namespace, by.command,
                       by.executable, by.cgroup, by.container, has_capability);
}

class KnownProcessesTest : public ::testing::Test {
  protected:
    /// Looks at it as its next call would.
    void expect_as_it_is(const Stepping& process) {
        const Look look = known.look(process.pid());
        known.keep(look);
        const Caller caller(process.pid());
        EXPECT_EQ(text_of(look.requester, look.has_capability),
                  text_of(caller.requester(), caller.has_capability()));
    }
    /// After each of the steps, when the process has become known.
    void expect_as_it_is_after(const std::vector<Stepping::Step>& steps) {
        const Stepping process(steps);
        for (int i = 0; i < 3; ++i)
            expect_as_it_is(process);
        for (std::size_t i = 0; i < steps.size(); ++i) {
            SCOPED_TRACE(i);
            process.next();
            expect_as_it_is(process);
            expect_as_it_is(process);
        }
    }

    KnownProcesses known{4};
};

TEST_F(KnownProcessesTest, OneThatCallsAgainIsTheSame) {
    const Stepping process({});
    for (int i = 0; i < 5; ++i)
        expect_as_it_is(process);
    const Look first = known.look(process.pid());
    ASSERT_TRUE(first.process);
    known.keep(first);
    EXPECT_EQ(known.look(process.pid()).process, first.process) << "or it is looked at anew each time";
}

TEST_F(KnownProcessesTest, OneThatCallsOnceTakesNoDescriptors) {
    const Stepping process({});
    const Look look = known.look(process.pid());
    ASSERT_TRUE(look.process);
    EXPECT_FALSE(look.process->name || look.process->memory || look.process->cgroup);
}

TEST_F(KnownProcessesTest, ItsUserMayChange) {
    expect_as_it_is_after(
        {[](const Stepping&) { ::setreuid(1000, static_cast<uid_t>(-1)); }, // the real one alone
         [](const Stepping&) { ::setreuid(static_cast<uid_t>(-1), 2000); }, // the effective one alone
         [](const Stepping&) { ::setreuid(2000, static_cast<uid_t>(-1)); },
         [](const Stepping&) { ::setresuid(2000, 2000, 0); },
         [](const Stepping&) { ::setresuid(0, 0, 2000); },
         [](const Stepping&) { ::setreuid(2000, static_cast<uid_t>(-1)); },
         [](const Stepping&) { ::setresuid(3000, 3000, 3000); },
         [](const Stepping&) { ::setresuid(0, 0, 0); }});
}

TEST_F(KnownProcessesTest, ItsCapabilitiesMayChange) {
    const auto set = [](bool effective) {
        return [effective](const Stepping&) {
            __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
            std::array<__user_cap_data_struct, 2> sets{};
            ::syscall(SYS_capget, &header, sets.data());
            for (auto& part : sets)
                part.effective = effective ? part.permitted : 0;
            ::syscall(SYS_capset, &header, sets.data());
        };
    };
    expect_as_it_is_after(
        {set(false), set(true), [](const Stepping&) { ::prctl(PR_SET_DUMPABLE, 0); }, set(false)});
}

TEST_F(KnownProcessesTest, ItsUserNamespaceMayChange) {
    expect_as_it_is_after({[](const Stepping&) { ::unshare(CLONE_NEWUSER); },
                           [](const Stepping&) { ::unshare(CLONE_NEWUSER); }});
    expect_as_it_is_after({[](const Stepping&) { ::setresuid(1000, 1000, 1000); },
                           [](const Stepping&) { ::unshare(CLONE_NEWUSER); }});
}

TEST_F(KnownProcessesTest, ItsNameMayBeAnything) {
    std::vector<Stepping::Step> steps;
    for (const char* name : {"a b", "\xff\"\n\\", "a\tb", " \t x", "  ", "", "\\n", "15 bytes of name"})
        steps.emplace_back([name](const Stepping&) { ::prctl(PR_SET_NAME, name); });
    expect_as_it_is_after(steps);
}

/// Each has the name of the one before.
TEST_F(KnownProcessesTest, AnExecutionIsNoticed) {
    const test::TemporaryDirectory folder;
    const std::string shell = folder.path() / "sh";
    std::filesystem::copy_file("/bin/sh", shell);
    for (const bool by_a_thread : {false, true}) {
        const Stepping process({[](const Stepping&) { ::prctl(PR_SET_NAME, "sh"); },
                                [&](const Stepping& self) {
                                    if (!by_a_thread) return self.execute(shell);
                                    // It gets the number of the first, which ends.
                                    std::thread([&] { self.execute(shell); }).join();
                                }});
        process.next();
        for (int i = 0; i < 3; ++i)
            expect_as_it_is(process);
        process.next();
        expect_as_it_is(process);
        const Look look = known.look(process.pid());
        known.keep(look);
        EXPECT_EQ(look.requester.executable, shell);
        EXPECT_EQ(look.requester.command, "sh");
    }
}

TEST_F(KnownProcessesTest, AnotherProcessMayHaveItsNumber) {
    for (int i = 0; i < 3; ++i) {
        Stepping before({[](const Stepping&) { ::prctl(PR_SET_NAME, "before"); }});
        before.next();
        const pid_t number = before.pid();
        for (int look = 0; look < i + 1; ++look)
            expect_as_it_is(before);
        const Look of_before = known.look(number);
        before.end();
        known.keep(of_before); // as a call does that ends so late
        const Stepping after({[](const Stepping&) {
                                 ::prctl(PR_SET_NAME, "after");
                                 ::setresuid(1000, 1000, 1000);
                             }},
                             number);
        if (after.pid() != number) GTEST_SKIP() << "needs the right to choose a process's number";
        after.next();
        for (int look = 0; look < 3; ++look)
            expect_as_it_is(after);
    }
}

TEST_F(KnownProcessesTest, MoreThanThereIsRoomForAreLookedAtAnew) {
    std::vector<std::unique_ptr<Stepping>> processes;
    for (int i = 0; i < 10; ++i)
        processes.push_back(std::make_unique<Stepping>(std::vector<Stepping::Step>{}));
    for (int round = 0; round < 3; ++round)
        for (const auto& process : processes)
            expect_as_it_is(*process);
}

TEST_F(KnownProcessesTest, AThreadIsRecordedAsItself) {
    std::array<int, 2> ends{};
    ASSERT_EQ(::pipe(ends.data()), 0);
    const Stepping process({[&](const Stepping&) {
        std::thread([&] {
            ::prctl(PR_SET_NAME, "thread");
            const pid_t id = ::gettid();
            if (::write(ends[1], &id, sizeof id) != sizeof id) ::_exit(1);
            while (true)
                ::pause();
        }).detach();
    }});
    process.next();
    pid_t thread = 0;
    ASSERT_EQ(::read(ends[0], &thread, sizeof thread), static_cast<ssize_t>(sizeof thread));
    for (int i = 0; i < 3; ++i) {
        const Look look = known.look(thread);
        known.keep(look);
        EXPECT_EQ(look.requester.pid, process.pid());
        EXPECT_EQ(look.requester.command, "thread");
        EXPECT_EQ(look.requester, Caller(thread).requester());
    }
    ::close(ends[0]);
    ::close(ends[1]);
}

TEST(NameAsInStatus, IsWhatTheKernelWrites) {
    EXPECT_EQ(name_as_in_status("insmod\n"), "insmod");
    EXPECT_EQ(name_as_in_status("a\nb\n"), "a\\nb");
    EXPECT_EQ(name_as_in_status("a\\b\n"), "a\\\\b");
    EXPECT_EQ(name_as_in_status(" \t a b\tc\n"), "a b");
    EXPECT_EQ(name_as_in_status("\n"), "");
    EXPECT_EQ(name_as_in_status(""), "");
}

} // namespace
} // namespace kmodguard::process
