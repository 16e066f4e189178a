// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows what the kernel's request comes to, by its exit code and by what is logged, for every way in which a
// daemon can fail to answer: it is never a success unless the daemon said OK, whole.
#include "autoload/hook_fixture.hpp"
#include "fake_daemon.hpp"

#include <sys/wait.h>

#include <chrono>
#include <fstream>
#include <future>

namespace kmodguard::autoload {
namespace {

using test::FakeDaemon;
using Connection = FakeDaemon::Connection;
using Log = std::vector<std::string>;

class HookTest : public HookFixture {
  protected:
    /// A hook in a process of its own, which may become the original handler.
    pid_t begin_request(const std::string& token) const {
        const pid_t child = ::fork();
        if (child == 0) ::_exit(request(token));
        return child;
    }
    static int exit_code_of(pid_t child) {
        int status = 0;
        EXPECT_EQ(::waitpid(child, &status, 0), child);
        return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    }
    int request_in_child(const std::string& token = "kmt_token") const {
        return exit_code_of(begin_request(token));
    }
    const Log unanswered{log_prefix + "refused kmt_token: the daemon does not answer"};
};

TEST_F(HookTest, AsksForTheTokenAndIsRefused) {
    const FakeDaemon daemon(socket, "DENY\n");
    EXPECT_EQ(request("net-pf-15"), hook_refused);
    EXPECT_EQ(daemon.requests(), std::vector<std::string>{"AUTOLOAD net-pf-15"});
    EXPECT_EQ(log(), Log{}); // the daemon has logged it
}

TEST_F(HookTest, DenialWithWordsOrAPlanIsADenial) {
    EXPECT_EQ(run_answer("DENY not on the list\n"), hook_refused);
    EXPECT_EQ(run_answer("group kmt_a\njudged any\nmodprobe required kmt_a\nDENY\n"), hook_refused);
    EXPECT_EQ(trace(), "");
}

TEST_F(HookTest, AllowedPlanIsCarriedOut) {
    EXPECT_EQ(run_answer("group kmt_a\njudged any\nmodprobe required kmt_a\nOK\n"), hook_done);
    EXPECT_EQ(trace(), "[-q][--][kmt_a]\n");
    EXPECT_EQ(log(), Log{});
}

TEST_F(HookTest, NothingToLoadIsASuccess) {
    EXPECT_EQ(run_answer("OK\n"), hook_done);
    EXPECT_EQ(run_answer("OK built in\n"), hook_done);
}

TEST_F(HookTest, ErrorIsAFailureAndLogged) {
    EXPECT_EQ(run_answer("hint none\nERR invalid: too much\n"), hook_failed);
    EXPECT_EQ(log(), Log{log_prefix + "refused kmt_token: ERR invalid: too much"});
}

TEST_F(HookTest, NobodyThereIsARefusal) {
    EXPECT_EQ(request(), hook_unreachable);
    EXPECT_EQ(log(), unanswered);
    directory.write("daemon.sock", "no socket");
    EXPECT_EQ(request(), hook_unreachable);
}

/// Two hooks meet the same silence. The one with a second gives up, while the other still waits, and then
/// gets its answer.
TEST_F(HookTest, SilenceIsARefusalWhenTheTimeIsUp) {
    std::promise<void> asked;
    std::promise<void> enough;
    const FakeDaemon daemon(socket, [&](Connection& connection, const std::string& request) {
        if (request != "AUTOLOAD kmt_patient") return connection.wait_for_hangup();
        asked.set_value();
        enough.get_future().wait();
        connection.send("DENY\n");
    });
    const pid_t patient = begin_request("kmt_patient");
    ASSERT_EQ(asked.get_future().wait_for(std::chrono::minutes(1)), std::future_status::ready);
    paths.answer_seconds = 1;
    EXPECT_EQ(request(), hook_unreachable);
    EXPECT_EQ(log(), unanswered);
    EXPECT_EQ(::waitpid(patient, nullptr, WNOHANG), 0) << "its time is not up";
    enough.set_value();
    EXPECT_EQ(exit_code_of(patient), hook_refused);
    EXPECT_EQ(log(), Log{});
}

TEST_F(HookTest, GivesTheDaemonFiveSeconds) {
    EXPECT_EQ(HookPaths{}.answer_seconds, 5);
}

TEST_F(HookTest, AnswerThatTricklesDoesNotExtendTheTime) {
    const FakeDaemon daemon(socket, [](Connection& connection, const std::string&) {
        for (int line = 0; line < 600; ++line) // after a minute of them there is an answer
            if (!connection.send("key value\n") || connection.hung_up_within(100)) return;
        connection.send("DENY\n");
    });
    paths.answer_seconds = 1;
    EXPECT_EQ(request(), hook_unreachable) << "it has waited for the answer";
    EXPECT_EQ(log(), unanswered);
}

TEST_F(HookTest, AnswerThatIsNotWholeIsARefusal) {
    for (const char* answer : {"", "OK", "OK yes", "ok\n", "OKAY\n", " OK\n", "group kmt_a\n", "\n", "\n\n\n",
                               "group kmt_a\njudged any\nmodprobe required kmt_a\n",
                               "group kmt_a\njudged any\nmodprobe required kmt_a\nOK",
                               "OK\njudged any\nmodprobe required kmt_a\n", "\xff\xfe\x01\n"}) {
        EXPECT_EQ(run_answer(answer), hook_unreachable) << answer;
        EXPECT_EQ(log(), unanswered) << answer;
    }
    EXPECT_EQ(run_answer(std::string("OK\0\n", 4)), hook_unreachable);
    EXPECT_EQ(trace(), "");
}

TEST_F(HookTest, AnswerMayBe65536BytesAndNotOneMore) {
    const std::string end = "judged any\nmodprobe required kmt_a\nOK\n";
    const auto padded = [&end](std::size_t size) {
        return "pad " + std::string(size - end.size() - 5, 'x') + "\n" + end;
    };
    EXPECT_EQ(run_answer(padded(65536)), hook_done);
    EXPECT_EQ(trace(), "[-q][--][kmt_a]\n");
    EXPECT_EQ(run_answer(padded(65537)), hook_unreachable);
    EXPECT_EQ(run_answer(padded(1U << 20U)), hook_unreachable);
    EXPECT_EQ(trace(), "[-q][--][kmt_a]\n");
}

TEST_F(HookTest, LogsToTheKernelWhereThereIsNoSyslog) {
    ASSERT_EQ(::unlink(log_socket.c_str()), 0);
    directory.write("kmsg", "");
    EXPECT_EQ(request(), hook_unreachable);
    std::ifstream file(kernel_log);
    EXPECT_EQ(std::string(std::istreambuf_iterator<char>(file), {}), unanswered.front());
}

TEST_F(HookTest, RefusesWithoutAnyLogToo) {
    ASSERT_EQ(::unlink(log_socket.c_str()), 0);
    EXPECT_EQ(request(), hook_unreachable);
    EXPECT_FALSE(std::filesystem::exists(kernel_log));
}

TEST_F(HookTest, BreakGlassHandsOnToTheOriginalOnlyWithoutADaemon) {
    for (const char* line : {"quiet kmodguard.mode=audit ro\n", "kmodguard.mode=off",
                             "kmodguard.mode=enforce kmodguard.mode=audit\n"}) {
        directory.write("cmdline", line);
        std::filesystem::remove(directory / "trace");
        EXPECT_EQ(request_in_child("net-pf-15"), 0) << line;
        EXPECT_EQ(trace(), "[-q][--][net-pf-15]\n") << line;
        EXPECT_EQ(log(), Log{log_prefix
                             + "passed net-pf-15 to the original handler: no daemon, and kmodguard.mode on "
                               "the command line"});
    }
    std::filesystem::remove(directory / "trace");
    EXPECT_EQ(run_answer("DENY\n"), hook_refused);
    EXPECT_EQ(run_answer("ERR failed: no\n"), hook_failed);
    EXPECT_EQ(trace(), "");
}

TEST_F(HookTest, OtherKernelCommandLinesBreakNoGlass) {
    for (const char* line : {"", "quiet ro\n", "kmodguard.mode=enforce\n", "kmodguard.mode=\n",
                             "kmodguard.mode=audits\n", "xkmodguard.mode=audit\n", "kmodguard.mode = audit\n",
                             "kmodguard.mode=audit kmodguard.mode=enforce\n", "kmodguard.mode=offline\n"}) {
        directory.write("cmdline", line);
        EXPECT_EQ(request_in_child(), hook_unreachable) << line;
        EXPECT_EQ(log(), unanswered) << line;
    }
    EXPECT_EQ(trace(), "");
}

TEST_F(HookTest, BreakGlassWithoutAnOriginalIsARefusal) {
    directory.write("cmdline", "kmodguard.mode=audit\n");
    for (const char* handler : {"", "\n", "modprobe\n", "/no/such/program\n"}) {
        directory.write("original_modprobe", handler);
        EXPECT_EQ(request_in_child(), hook_unreachable) << handler;
        EXPECT_EQ(log().back(), unanswered.front());
    }
    ASSERT_EQ(::unlink(saved.c_str()), 0);
    EXPECT_EQ(request_in_child(), hook_unreachable);
}

TEST_F(HookTest, BreakGlassReturnsWhatTheOriginalReturns) {
    directory.write("cmdline", "kmodguard.mode=audit\n");
    original("#!/bin/sh\nexit 42\n");
    EXPECT_EQ(request_in_child(), 42);
}

TEST_F(HookTest, TokenThatLooksLikeAnOptionIsAskedForAsAName) {
    const FakeDaemon daemon(socket, "DENY\n");
    EXPECT_EQ(run({"-q", "--", "-r"}), hook_refused);
    EXPECT_EQ(run({"-q", "--", "--"}), hook_refused);
    EXPECT_EQ(run({"-q", "--", "-q"}), hook_refused);
    EXPECT_EQ(run({"-r"}), hook_refused);
    EXPECT_EQ(run({"kmt_a"}), hook_refused);
    EXPECT_EQ(daemon.requests(), (std::vector<std::string>{"AUTOLOAD -r", "AUTOLOAD --", "AUTOLOAD -q",
                                                           "AUTOLOAD -r", "AUTOLOAD kmt_a"}));
}

TEST_F(HookTest, AnythingButOneTokenIsAMistake) {
    const FakeDaemon daemon(socket, "OK\n");
    const std::vector<std::vector<std::string>> mistakes = {{},
                                                            {"-q"},
                                                            {"-q", "--"},
                                                            {"-q", "--", ""},
                                                            {"-q", "--", "a", "b"},
                                                            {"a", "-q", "--", "b"},
                                                            {"-r", "kmt_a"}};
    for (const auto& arguments : mistakes) {
        EXPECT_EQ(run(arguments), hook_usage) << testing::PrintToString(arguments);
        EXPECT_EQ(log(), Log{log_prefix + "refused a request without exactly one name"});
    }
    EXPECT_TRUE(daemon.requests().empty());
}

TEST_F(HookTest, TokenThatIsNoLineIsRefusedUnasked) {
    const FakeDaemon daemon(socket, "OK\n");
    for (const std::string& token :
         {std::string(5000, 'a'), std::string(2049, 'a'), std::string("a\nAUTOLOAD b"),
          std::string("a\x1b[2J"), std::string("\t")}) {
        EXPECT_EQ(request(token), hook_refused) << token;
        const Log messages = log();
        ASSERT_EQ(messages.size(), 1U);
        EXPECT_TRUE(messages.front().ends_with("...: not a valid module name or alias")) << messages.front();
        EXPECT_LT(messages.front().size(), 200U);
        EXPECT_EQ(messages.front().find('\n'), std::string::npos);
        EXPECT_EQ(messages.front().find('\x1b'), std::string::npos);
    }
    EXPECT_TRUE(daemon.requests().empty());
}

TEST_F(HookTest, LongestTokenAndOddBytesAreTheDaemonsToJudge) {
    const FakeDaemon daemon(socket, "DENY\n");
    for (const std::string& token :
         {std::string(2048, 'a'), std::string("../../tmp/x"), std::string("$(reboot) `x`;"),
          std::string("\xff\xfe"), std::string("a b")}) {
        EXPECT_EQ(request(token), hook_refused);
        EXPECT_EQ(daemon.requests().back(), "AUTOLOAD " + token);
    }
}

} // namespace
} // namespace kmodguard::autoload
