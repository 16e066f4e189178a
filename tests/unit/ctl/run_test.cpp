// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows what verbs ask the daemon, print, and exit with, on a root directory of the test's own.
#include "ctl/arguments.hpp"
#include "ctl/machine_status.hpp"
#include "fake_daemon.hpp"
#include "module_tree.hpp"
#include "sys/kernel.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sys/stat.h>

#include <algorithm>
#include <optional>
#include <utility>

namespace kmodguard::ctl {
namespace {

using test::ModuleTree;

class RunTest : public ::testing::Test {
  protected:
    RunTest() {
        add_usual_modules(tree);
        tree.write("etc/kmodguard/policy.toml",
                   "version = 1\n[allow]\nmodules = [\"kmt_base\"]\n[deny]\nmodules = [\"kmt_deep\"]\n");
    }
    /// Runs kmodctl with `options` and these arguments; what it prints is in `out` and `err` then.
    int run(const std::string& verb, const Words& arguments = {}) {
        Words words{"kmodctl", "--root", tree.paths().root(), verb};
        words.insert(words.end(), options.begin(), options.end());
        words.insert(words.end(), arguments.begin(), arguments.end());
        std::vector<char*> pointers;
        for (std::string& word : words)
            pointers.push_back(word.data());
        pointers.push_back(nullptr);
        testing::internal::CaptureStdout();
        testing::internal::CaptureStderr();
        const Parsed parsed = parse_arguments(static_cast<int>(words.size()), pointers.data());
        const int* mistake = std::get_if<int>(&parsed);
        const int code = mistake != nullptr ? *mistake : std::get<Invocation>(parsed).run();
        out = testing::internal::GetCapturedStdout();
        err = testing::internal::GetCapturedStderr();
        return code;
    }
    void serve(const std::string& answer) {
        daemon.reset();
        daemon.emplace(tree.paths().socket(), answer);
    }
    void judge_here() { options = {"--kernel", ModuleTree::release}; }

    ModuleTree tree;
    Words options;
    std::optional<test::FakeDaemon> daemon;
    std::string out;
    std::string err;
};

TEST_F(RunTest, VerbsThatChangeThePolicyAskTheDaemon) {
    serve("OK so be it\n");
    for (const std::string verb : {"allow", "deny", "remove"}) {
        EXPECT_EQ(run(verb, {"kmt_x"}), exit_done);
        EXPECT_EQ(out, "so be it\n");
    }
    EXPECT_EQ(run("reload"), exit_done);
    options = {"--discard"};
    EXPECT_EQ(run("reload"), exit_done);
    EXPECT_EQ(daemon->requests(),
              (Words{"ALLOW kmt_x", "DENY kmt_x", "REMOVE kmt_x", "RELOAD", "RELOAD discard"}));
}

TEST_F(RunTest, ErrorsOfTheDaemonBecomeExitCodes) {
    const std::pair<std::string, int> answers[] = {{"ERR failed: no\n", 1},
                                                   {"ERR unauthorized: no\n", 1},
                                                   {"ERR invalid: no\n", 2},
                                                   {"ERR not-found: no\n", 4},
                                                   {"ERR bad-policy: no\n", 6}};
    for (const auto& [answer, code] : answers) {
        serve("hint do that\n" + answer);
        EXPECT_EQ(run("remove", {"kmt_x"}), code) << answer;
        EXPECT_EQ(out, "");
        EXPECT_EQ(err, "kmodctl remove: no\n  hint: do that\n");
    }
}

TEST_F(RunTest, WithoutADaemonTheExitCodeIsFive) {
    for (const std::string verb : {"allow", "deny", "remove"})
        EXPECT_EQ(run(verb, {"kmt_x"}), exit_unreachable) << verb;
    EXPECT_EQ(run("apply"), exit_unreachable);
    EXPECT_EQ(run("mode", {"audit"}), exit_unreachable);
    EXPECT_NE(err.find("kmodctl start"), std::string::npos) << err;
}

TEST_F(RunTest, JsonIsOneObjectALineAlsoForErrors) {
    options = {"--json"};
    EXPECT_EQ(run("allow", {"kmt_x"}), exit_unreachable);
    EXPECT_EQ(err, "");
    const auto object = nlohmann::json::parse(out);
    EXPECT_EQ(object["exit"], 5);
    EXPECT_NE(object["error"], "");
    serve("OK done\n");
    EXPECT_EQ(run("allow", {"kmt_x"}), exit_done);
    EXPECT_EQ(nlohmann::json::parse(out), (nlohmann::json{{"result", "done"}}));
}

TEST_F(RunTest, LengthsOfTimeAreAskedForInSeconds) {
    serve("OK\n");
    const std::pair<const char*, const char*> lengths[] = {
        {"90", "90"},    {"90s", "90"}, {"30m", "1800"},  {"8h", "28800"},
        {"1d", "86400"}, {"1", "1"},    {"7d", "604800"}, {"1000000", "1000000"}};
    Words expected;
    for (const auto& [written, seconds] : lengths) {
        options = {"--for", written};
        EXPECT_EQ(run("mode", {"audit"}), exit_done) << written;
        expected.push_back(std::string("MODE audit ") + seconds);
    }
    options.clear();
    EXPECT_EQ(run("mode", {"enforce"}), exit_done);
    expected.emplace_back("MODE enforce");
    EXPECT_EQ(daemon->requests(), expected);
}

TEST_F(RunTest, WhatIsNoLengthOfTimeOrNoModeIsAskedOfNobody) {
    serve("OK\n");
    for (const char* written : {"", "0", "0s", "-5", "+5", "5x", "5 m", "m", "1h30m", "1.5h", " 5", "5M",
                                "99999999999999999999", "1000001"}) {
        options = {"--for", written};
        EXPECT_EQ(run("mode", {"audit"}), exit_usage) << written;
    }
    options.clear();
    for (const char* mode : {"off", "AUDIT", "", "audit\nALLOW x"})
        EXPECT_EQ(run("mode", {mode}), exit_usage) << mode;
    EXPECT_TRUE(daemon->requests().empty());
}

TEST_F(RunTest, CheckHereSaysAllowedOrRefused) {
    judge_here();
    EXPECT_EQ(run("check", {"kmt_base"}), exit_done);
    EXPECT_TRUE(out.starts_with("kmt_base: allowed: kmt_base is on the allow list")) << out;
    EXPECT_EQ(run("check", {"kmt_base", "kmt_deep"}), exit_refused);
    EXPECT_NE(out.find("kmt_deep: refused: kmt_deep is on the deny list"), std::string::npos) << out;
    EXPECT_EQ(run("check", {"kmt_nothing"}), exit_refused);
    EXPECT_EQ(run("check", {std::string("a\nb\x1b[2J")}), exit_refused);
    EXPECT_EQ(std::ranges::count(out, '\n'), 1) << out;
    EXPECT_EQ(out.find('\x1b'), std::string::npos);
}

TEST_F(RunTest, CheckByAnotherPolicyAndByABrokenOne) {
    tree.write("other.toml", "version = 1\n[allow]\nmodules = [\"kmt_deep\"]\n")
        .write("broken.toml", "garbage");
    judge_here();
    const Words here = options;
    const auto with_policy = [&](const Words& others, const char* policy) {
        options = others;
        options.insert(options.end(), {"--policy", tree / policy});
    };
    with_policy(here, "other.toml");
    EXPECT_EQ(run("check", {"kmt_deep"}), exit_done);
    with_policy(here, "broken.toml");
    EXPECT_EQ(run("check", {"kmt_deep"}), exit_bad_policy);
    with_policy({"--kernel", "6.6.6-missing"}, "other.toml");
    EXPECT_EQ(run("check", {"kmt_deep"}), exit_not_found);
}

TEST_F(RunTest, CheckTellsTheDaemonNothingThatIsNoLine) {
    serve("token t\nverdict allow\nreason listed\nOK\n");
    EXPECT_EQ(run("check", {"a\nALLOW kmt_x"}), exit_refused);
    EXPECT_EQ(run("check", {"t"}), exit_done);
    EXPECT_EQ(daemon->requests(), Words{"EXPLAIN t"});
}

TEST_F(RunTest, ExplainShowsTheChainAndTheRule) {
    tree.write("etc/kmodguard/policy.toml", "version = 1\n[allow]\nmodules = [\"kmt_needs\"]\n");
    judge_here();
    EXPECT_EQ(run("explain", {"kmt-alias-7"}), exit_done);
    EXPECT_EQ(out,
              "kmt-alias-7: allowed\n  loads kmt_needs is on the allow list, by allow.modules \"kmt_needs\" ("
                  + (tree / "etc/kmodguard/policy.toml").native() + ":3)\n    its file: "
                  + (tree / test::ModuleTree::image_file({.name = "kmt_needs"})).native()
                  + "\n    its signature: none\n    in this order: kmt_base, kmt_needs\n");
    EXPECT_EQ(run("explain", {"kmt_inside"}), exit_done);
    EXPECT_TRUE(out.starts_with("kmt_inside: allowed\n  is there: kmt_inside is built into the kernel"))
        << out;
    EXPECT_EQ(run("explain", {"kmt_nothing"}), exit_refused);
}

TEST_F(RunTest, ListWithoutADaemonIsThatOfTheFiles) {
    EXPECT_EQ(run("list"), exit_done);
    EXPECT_NE(out.find("allow.modules"), std::string::npos);
    EXPECT_NE(out.find("kmt_deep"), std::string::npos);
    serve("allow.modules kmt_new\norigin \nOK\n");
    EXPECT_EQ(run("list"), exit_done);
    EXPECT_NE(out.find("(run time, not saved)"), std::string::npos) << out;
    EXPECT_EQ(out.find("kmt_deep"), std::string::npos) << out;
}

TEST_F(RunTest, ArmAndDisarmChangeTheSettingAndSaySo) {
    tree.write("proc/sys/kernel/modprobe", "/sbin/modprobe\n");
    EXPECT_EQ(run("arm"), exit_done);
    EXPECT_EQ(out, "armed, instead of /sbin/modprobe\n");
    EXPECT_EQ(run("arm"), exit_done);
    EXPECT_EQ(out, "armed already\n");
    EXPECT_EQ(run("disarm"), exit_done);
    EXPECT_EQ(out, "disarmed: the handler is /sbin/modprobe again\n");
    EXPECT_EQ(run("disarm"), exit_done);
    EXPECT_EQ(out, "not armed\n");
}

TEST_F(RunTest, ArmIsRefusedWhereTheKernelCommandLineSaysOff) {
    tree.write("proc/sys/kernel/modprobe", "/sbin/modprobe\n")
        .write("proc/cmdline", "ro kmodguard.mode=off quiet\n");
    EXPECT_EQ(run("arm"), exit_failed);
    EXPECT_EQ(tree.read("proc/sys/kernel/modprobe"), "/sbin/modprobe\n");
}

TEST_F(RunTest, StatusWithoutADaemonWarnsThatEverythingIsRefused) {
    tree.write("proc/sys/kernel/modprobe", "/sbin/modprobe\n");
    EXPECT_EQ(run("status"), exit_unreachable);
    EXPECT_NE(out.find("daemon    not running\n"), std::string::npos) << out;
    ASSERT_EQ(run("arm"), exit_done);
    EXPECT_EQ(run("status"), exit_unreachable);
    EXPECT_NE(out.find("not running: every request is refused"), std::string::npos) << out;
}

TEST_F(RunTest, StatusShowsEveryPointAndWhatItDoesNotStop) {
    tree.write("proc/sys/kernel/modprobe", "/sbin/modprobe\n");
    serve("version 0\nkernel 6\nmode enforce\nunsaved-changes 0\nevents-lost 0\nallowed 12\nrefused 3\n"
          "audited 0\nkernel-point-state active\nkernel-point-mechanism lsm\nkernel-point-generation 3\n"
          "kernel-point-modules 57\nkernel-point-allowed 4\nkernel-point-refused 9\nkernel-point-audited 0\n"
          "kernel-point-remembered 120\nOK\n");
    EXPECT_EQ(run("status"), exit_done);
    EXPECT_TRUE(out.starts_with("autoload  not armed: the kernel runs /sbin/modprobe; 12 allowed, 3 refused\n"
                                "kernel    active by BPF LSM, generation 3, 57 modules; 4 allowed, 9 "
                                "refused, 0 audited, 120 requests "
                                "refused unasked\n"
                                "process   by kmodctl exec and kmodctl oci-agent, for what they start\n"
                                "guest     by kmodctl guest, for the emulator that it watches\n"))
        << out;
    EXPECT_NE(out.find("limits    root, udev and insmod are judged too;"), std::string::npos) << out;
    EXPECT_NE(out.find("root can take the guard away"), std::string::npos) << out;
    serve("kernel-point-state active\nkernel-point-sealed yes\nOK\n");
    EXPECT_EQ(run("status"), exit_done);
    EXPECT_NE(out.find("\n          sealed until the machine restarts\n"), std::string::npos) << out;
    EXPECT_EQ(out.find("root can take the guard away"), std::string::npos) << out;
}

TEST_F(RunTest, StatusInJsonHasAnObjectAPoint) {
    tree.write("proc/sys/kernel/modprobe", "/sbin/modprobe\n");
    serve("allowed 12\nrefused 3\naudited 1\nkernel-point-state active\nkernel-point-refused 9\n"
          "kernel-point-note bpf-inactive\nkernel-point-note may-skip\nOK\n");
    options = {"--json"};
    EXPECT_EQ(run("status"), exit_done);
    const auto points = nlohmann::json::parse(out)["points"];
    ASSERT_EQ(points.size(), 4U);
    EXPECT_EQ(points[0]["point"], "autoload");
    EXPECT_EQ(points[0]["armed"], false);
    EXPECT_EQ(points[0]["refused"], 3);
    EXPECT_EQ(points[1]["point"], "kernel");
    EXPECT_EQ(points[1]["active"], true);
    EXPECT_EQ(points[1]["refused"], 9);
    EXPECT_EQ(points[1]["notes"],
              (nlohmann::json{sentence_of(kernel::Note::bpf_inactive), sentence_of(kernel::Note::may_skip)}));
    EXPECT_EQ(points[2],
              (nlohmann::json{{"point", "process"},
                              {"held_by", "kmodctl exec and kmodctl oci-agent, for what they start"}}));
    EXPECT_FALSE(nlohmann::json::parse(out)["daemon"].contains("kernel_point_state"));
}

/// A version that was digits alone became a number, and two warnings two members of one name.
TEST_F(RunTest, StatusInJsonHasTheTypesOfTheTable) {
    serve("version 6\nkernel 7\npolicy-valid yes\nmode audit\nmode-seconds-left 20\npolicy-warning a\n"
          "policy-warning b\nuser-namespaces no\nevents-lost 4\nOK\n");
    options = {"--json"};
    EXPECT_EQ(run("status"), exit_done);
    const auto shown = nlohmann::json::parse(out)["daemon"];
    EXPECT_EQ(shown["version"], "6");
    EXPECT_EQ(shown["kernel"], "7");
    EXPECT_EQ(shown["policy_valid"], true);
    EXPECT_EQ(shown["mode"], "audit");
    EXPECT_EQ(shown["mode_seconds_left"], 20);
    EXPECT_EQ(shown["policy"], nlohmann::json::array());
    EXPECT_EQ(shown["policy_warning"], (nlohmann::json{"a", "b"}));
    EXPECT_EQ(shown["user_namespaces"], false);
    EXPECT_EQ(shown["events_lost"], 4);
    EXPECT_FALSE(shown.contains("policy_newer"));
    EXPECT_FALSE(shown.contains("wanted_mode"));
}

TEST_F(RunTest, AStatusThatCannotBeReadIsNotTakenForAGoodOne) {
    serve("version 1\nmode off\nOK\n");
    EXPECT_EQ(run("status"), exit_failed);
    EXPECT_NE(out.find("daemon    the daemon's answer cannot be read: mode off\n"), std::string::npos) << out;
    EXPECT_EQ(run("mode"), exit_failed);
    EXPECT_NE(err.find("mode off"), std::string::npos) << err;
}

class InitTest : public RunTest {
  protected:
    InitTest() {
        std::filesystem::create_directory_symlink(ModuleTree::release,
                                                  tree / ("lib/modules/" + sys::kernel_release()));
        tree.write("proc/modules", "kmt_needs 16384 0 - Live 0x0\nkmt_twin_a 16384 0 - Live 0x0\n");
    }
};

TEST_F(InitTest, WritesWhatIsLoadedWithItsDependencies) {
    options = {"--output", "-"};
    EXPECT_EQ(run("init"), exit_done);
    EXPECT_NE(out.find("kmt_base"), std::string::npos) << out;
    EXPECT_NE(out.find("kmt_needs"), std::string::npos) << out;
    EXPECT_EQ(out.find("kmt_twin_b"), std::string::npos) << out;
    EXPECT_EQ(out.find("kmt_deep"), std::string::npos) << out;
}

TEST_F(InitTest, KeepsAPolicyThatExistsUnlessForced) {
    const std::string before = tree.read("etc/kmodguard/policy.toml");
    EXPECT_EQ(run("init"), exit_failed);
    EXPECT_EQ(tree.read("etc/kmodguard/policy.toml"), before);
    options = {"--force"};
    EXPECT_EQ(run("init"), exit_done);
    EXPECT_NE(tree.read("etc/kmodguard/policy.toml").find("kmt_twin_a"), std::string::npos);
    struct stat file{};
    ASSERT_EQ(::stat((tree / "etc/kmodguard/policy.toml").c_str(), &file), 0);
    EXPECT_EQ(file.st_mode & 07777U, 0600U);
}

/// `kmodctl init --output /tmp/p.toml` made /tmp 0755.
TEST_F(InitTest, OutputElsewhereLeavesThatDirectoryAsItIs) {
    tree.write("shared/x", "");
    ASSERT_EQ(::chmod((tree / "shared").c_str(), 01777), 0);
    options = {"--output", tree / "shared/p.toml"};
    EXPECT_EQ(run("init"), exit_done) << err;
    struct stat directory{};
    ASSERT_EQ(::stat((tree / "shared").c_str(), &directory), 0);
    EXPECT_EQ(directory.st_mode & 07777U, 01777U);
}

} // namespace
} // namespace kmodguard::ctl
