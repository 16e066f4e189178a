// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows each verb's answer, byte for byte where a user or a script sees it, and what is answered to verbs and
// arguments that there are none of.
#include "daemon/engine_fixture.hpp"
#include "daemon/verbs.hpp"
#include "installation.hpp"
#include "protocol/answers.hpp"

#include <algorithm>

namespace kmodguard::daemon {
namespace {

using protocol::Outcome;

class VerbsTest : public EngineFixture {
  protected:
    Response ask(const std::string& verb, const std::string& argument = "") {
        return respond(engine(), {verb, argument});
    }
    std::string text(const std::string& verb, const std::string& argument = "") {
        return encode(ask(verb, argument).answer);
    }
    std::string path(const std::string& relative) const { return tree / relative; }
};

TEST_F(VerbsTest, CheckSaysVerdictReasonAndSentence) {
    EXPECT_EQ(text("CHECK", "kmt_base"),
              "verdict allow\nreason listed\nOK allowed: kmt_base is on the allow list, by allow.modules "
              "\"kmt_base\" ("
                  + path(policy) + ":7)\n");
    EXPECT_EQ(text("CHECK", "kmt_deep"),
              "verdict refuse\nreason not-listed\nDENY refused: kmt_deep is not on the allow list\n");
    EXPECT_EQ(text("CHECK", "kmt_x\xc2\xa0"),
              "verdict refuse\nreason no-such-module\nDENY refused: kmt_x\xc2\xa0 is known neither as a "
              "module nor as an alias on this kernel\n");
    EXPECT_EQ(text("CHECK", "-r"),
              "verdict refuse\nreason not-a-name\nDENY refused: -r is not a valid module name or alias\n");
}

/// "is denied" was all that was said of what is in the kernel already.
TEST_F(VerbsTest, WhatIsDeniedOrRemovedAndInTheKernelAlreadyIsSaidTo) {
    tree.write("proc/modules", "kmt_base 1 0 - Live 0x0\nkmt_twin_a 1 0 - Live 0x0\n");
    EXPECT_EQ(
        text("DENY", "kmt_base"),
        "warning a loaded module would not be admitted, and stays until it is unloaded: kmt_base (denied)\n"
        "OK kmt_base is denied until the daemon restarts\n");
    EXPECT_TRUE(
        text("DENY", "kmt-twin-*")
            .starts_with("warning a loaded module would not be admitted, and stays until it is unloaded: "
                         "kmt_twin_a (denied)\nOK kmt-twin-* is denied"));
    EXPECT_EQ(text("REMOVE", "kmt_base"),
              "warning a loaded module would not be admitted, and stays until it is unloaded: kmt_base\n"
              "OK kmt_base is off the lists until the daemon restarts\n");
    EXPECT_EQ(text("DENY", "kmt_inside"),
              "warning built into the kernel, and not kept out by any policy: kmt_inside\n"
              "OK kmt_inside is denied until the daemon restarts\n");
    EXPECT_EQ(text("DENY", "kmt_deep"), "OK kmt_deep is denied until the daemon restarts\n");
}

TEST_F(VerbsTest, LoadedNamesWhatIsInTheKernelAndWouldNotBeAdmitted) {
    EXPECT_EQ(ask("LOADED").answer.outcome, Outcome::error); // nobody knows what is loaded
    tree.write("proc/modules",
               "kmt_base 1 0 - Live 0x0\nkmt_deep 1 0 - Live 0x0\nkmt_twin_b 1 0 - Live 0x0\n");
    const auto found = protocol::modules_of(ask("LOADED").answer.fields).value();
    ASSERT_EQ(found.size(), 2U);
    EXPECT_EQ(found[0].module, "kmt_twin_b");
    EXPECT_EQ(found[0].reason, core::Reason::denied_module);
    EXPECT_EQ(found[1].module, "kmt_deep");
    tree.write(policy, "nonsense");
    std::filesystem::remove(tree / "var/lib/kmodguard/policy"); // nor one of the start before
    restart();
    EXPECT_EQ(ask("LOADED").answer.text, "bad-policy: there is no valid policy");
}

TEST_F(VerbsTest, CheckSaysOfADeniedModuleThatIsBuiltInThatItIsNotBlocked) {
    ask("DENY", "kmt_inside");
    EXPECT_TRUE(text("CHECK", "kmt_inside")
                    .starts_with(
                        "verdict refuse\nreason denied-module\nblocked no\nDENY refused, but not blocked: "));
}

TEST_F(VerbsTest, CheckAndExplainAreNoAttemptsToLoad) {
    for (const char* verb : {"CHECK", "EXPLAIN"}) {
        const Response response = ask(verb, "kmt_deep");
        EXPECT_FALSE(response.event);
    }
    EXPECT_EQ(engine().status().refused, 0U);
}

TEST_F(VerbsTest, ExplainCarriesTheWholeDecision) {
    for (const char* token : {"kmt-twin-1", "kmt_base", "kmt_inside", "kmt_hidden", "kmt-hidden-1",
                              "kmt_nothing", "kmt_liar", "-r"}) {
        const core::Decision decision = engine().decide(token, Engine::Known::by_files);
        const Response response = ask("EXPLAIN", token);
        EXPECT_EQ(protocol::decision_of(response.answer.fields).value(), decision) << token;
        EXPECT_EQ(response.answer.text, explain(decision));
        EXPECT_EQ(response.answer.outcome,
                  decision.effective() == core::Verdict::allow ? Outcome::ok : Outcome::deny);
    }
}

TEST_F(VerbsTest, AutoloadOfAnAllowedModuleIsAPlan) {
    const Response response = ask("AUTOLOAD", "kmt_base");
    ASSERT_EQ(response.answer.fields.size(), 3U);
    EXPECT_EQ(response.answer.fields[0], (protocol::Field{"group", "kmt_base"}));
    EXPECT_EQ(response.answer.fields[1].key, "judged");
    EXPECT_EQ(response.answer.fields[2].key, "insert");
    EXPECT_EQ(response.answer.outcome, Outcome::ok);
    ASSERT_TRUE(response.event);
    EXPECT_EQ(response.event->point, core::Point::autoload);
    EXPECT_EQ(response.event->generation, 1U);
    EXPECT_EQ(response.event->decision, engine().decide("kmt_base", Engine::Known::by_files));
    EXPECT_EQ(engine().status().allowed, 1U);
}

/// The hook compares each file with the state in the plan, and asks again about what has changed.
TEST_F(VerbsTest, AutoloadIsAnsweredAsJudgedUntilTheHookHasFoundAFileChanged) {
    const std::string first = text("AUTOLOAD", "kmt_base");
    tree.add({.name = "kmt_base", .calls_itself = "kmt_evil"});
    EXPECT_EQ(text("AUTOLOAD", "kmt_base"), first);
    const Response again = ask("REJUDGE", "kmt_base");
    EXPECT_EQ(encode(again.answer), "DENY\n");
    EXPECT_TRUE(again.is_asked_again);
    ASSERT_TRUE(again.event);
    EXPECT_EQ(again.event->note, "judged anew: a file had changed since it was judged");
    EXPECT_EQ(text("AUTOLOAD", "kmt_base"), "DENY\n");
    tree.add({.name = "kmt_base"});
    const std::string mended = text("AUTOLOAD", "kmt_base");
    EXPECT_NE(mended, first);
    EXPECT_TRUE(mended.ends_with("OK\n"));
}

TEST_F(VerbsTest, PeopleAreToldWhatTheFilesHoldNow) {
    ASSERT_TRUE(text("AUTOLOAD", "kmt_base").ends_with("OK\n"));
    tree.add({.name = "kmt_base", .calls_itself = "kmt_evil"});
    EXPECT_TRUE(text("CHECK", "kmt_base").starts_with("verdict refuse\nreason contradictory-image\n"));
}

/// The hook is not told of the file that the command loads, and so cannot compare it.
TEST_F(VerbsTest, AutoloadLooksAtFilesThatAnInstallCommandLoads) {
    tree.write("etc/modprobe.d/kmt.conf",
               "install kmt_deep /sbin/modprobe kmt_after; /sbin/modprobe -i kmt_deep\n");
    ASSERT_TRUE(engine().allow("kmt_deep"));
    ASSERT_TRUE(text("AUTOLOAD", "kmt_deep").ends_with("OK\n"));
    tree.add({.name = "kmt_after", .calls_itself = "kmt_evil"});
    EXPECT_EQ(text("AUTOLOAD", "kmt_deep"), "DENY\n");
}

TEST_F(VerbsTest, AutoloadOfARefusedModuleIsABareDenial) {
    for (const char* token : {"kmt_deep", "kmt_nothing", "-r", "kmt-only-b"}) {
        const Response response = ask("AUTOLOAD", token);
        EXPECT_EQ(encode(response.answer), "DENY\n") << token;
        ASSERT_TRUE(response.event) << token;
        EXPECT_EQ(response.event->decision.token, token);
    }
    EXPECT_EQ(engine().status().refused, 4U);
}

TEST_F(VerbsTest, AutoloadOfTwoPlansOnlyTheAllowedOne) {
    for (const protocol::Field& field : ask("AUTOLOAD", "kmt-twin-1").answer.fields)
        EXPECT_EQ(field.value.find("kmt_twin_b"), std::string::npos) << field.value;
}

TEST_F(VerbsTest, AutoloadInAuditModeIsAPlanAndCountedAsAudited) {
    EXPECT_TRUE(engine().set_mode(core::Mode::audit));
    const Response response = ask("AUTOLOAD", "kmt_deep");
    EXPECT_EQ(response.answer.outcome, Outcome::ok);
    EXPECT_EQ(response.answer.fields.size(), 8U);
    EXPECT_TRUE(response.event->decision.audited());
    EXPECT_EQ(engine().status().audited, 1U);
}

TEST_F(VerbsTest, AutoloadWithoutAnIndexIsADenialEvenInAuditMode) {
    std::filesystem::remove_all(tree / "lib/modules");
    EXPECT_EQ(text("AUTOLOAD", "kmt_base"), "DENY\n");
    EXPECT_TRUE(engine().set_mode(core::Mode::audit));
    EXPECT_EQ(text("AUTOLOAD", "kmt_base"), "DENY\n");
}

TEST_F(VerbsTest, AllowDenyAndRemoveSayWhatTheyDid) {
    EXPECT_EQ(text("ALLOW", "kmt-deep"), "OK kmt_deep is allowed until the daemon restarts\n");
    EXPECT_EQ(text("ALLOW", "kmt-nothing"),
              "OK kmt_nothing is allowed until the daemon restarts; this kernel has no such module\n");
    EXPECT_EQ(verdict("kmt_deep"), "allow");
    EXPECT_EQ(text("DENY", "kmt_deep"), "OK kmt_deep is denied until the daemon restarts\n");
    EXPECT_EQ(verdict("kmt_deep"), "refuse");
    EXPECT_EQ(text("REMOVE", "kmt_deep"), "OK kmt_deep is off the lists until the daemon restarts\n");
    EXPECT_EQ(reason("kmt_deep"), "not-listed");
    EXPECT_EQ(text("REMOVE", "kmt_deep"), "hint kmodctl explain kmt_deep shows why it loads or not\n"
                                          "ERR not-found: kmt_deep is neither allowed nor denied by name\n");
    EXPECT_EQ(text("ALLOW", "a b"), "hint patterns belong into allow.aliases of the policy file\n"
                                    "ERR invalid: \"a b\" is not a valid module name\n");
}

TEST_F(VerbsTest, DenySaysWhatANameThatIsNoModuleMeans) {
    EXPECT_EQ(text("DENY", "kmt-only-b"), "OK kmt-only-b is denied as an alias until the daemon restarts; "
                                          "kmt_twin_b has it, and is denied with "
                                          "it\n");
    EXPECT_EQ(
        text("DENY", "kmt-twin-*"),
        "OK kmt-twin-* is denied as an alias until the daemon restarts; 2 modules have it, and are denied "
        "with it\n");
    EXPECT_EQ(text("REMOVE", "kmt-twin-*"), "OK kmt-twin-* is off the lists until the daemon restarts\n");
    EXPECT_EQ(text("DENY", "kmt-twin-2"),
              "OK kmt-twin-2 is denied as an alias until the daemon restarts; kmt_twin_a "
              "answers to it, and can still load by another name: kmodctl deny "
              "kmt_twin_a\n");
    EXPECT_EQ(text("DENY", "kmt_baes"),
              "OK kmt_baes is denied as an alias until the daemon restarts; nothing on "
              "this kernel has that name\n");
    EXPECT_EQ(text("DENY", "kmt_deep.ko"), "OK kmt_deep is denied until the daemon restarts\n");
    std::filesystem::remove_all(tree / "lib/modules");
    restart();
    EXPECT_EQ(text("DENY", "kmt_deep"),
              "OK kmt_deep is denied as an alias until the daemon restarts; whether "
              "anything has that name is not known\n");
}

TEST_F(VerbsTest, ApplySaysWhichFilesChanged) {
    EXPECT_EQ(text("APPLY"), "OK nothing to save\n");
    ASSERT_TRUE(engine().allow("kmt_deep"));
    EXPECT_EQ(text("APPLY"), "changed " + path(policy) + "\nOK saved\n");
    ASSERT_TRUE(engine().allow("kmt_soft"));
    tree.write(policy, "garbage");
    EXPECT_NE(text("APPLY").find("ERR bad-policy: "), std::string::npos);
}

TEST_F(VerbsTest, ModeTakesAModeAndSeconds) {
    EXPECT_EQ(text("MODE", "audit"), "OK the mode is audit\n");
    EXPECT_EQ(engine().policy().mode(), core::Mode::audit);
    EXPECT_FALSE(engine().limited_until());
    EXPECT_EQ(text("MODE", "enforce 604800"), "OK the mode is enforce\n");
    EXPECT_GT(*engine().limited_until(), Engine::Clock::now() + std::chrono::hours(167));
}

TEST_F(VerbsTest, ModeRefusesWhatIsNone) {
    for (const char* argument :
         {"off", "Audit", "audit x", "audit 1x", "audit -1", "audit 604801", "audit ", "audit  5", " audit",
          "audit 5 5", "audit 99999999999999999999", "audit 1.5"}) {
        EXPECT_EQ(text("MODE", argument),
                  "ERR invalid: MODE takes enforce or audit, and up to 604800 seconds\n")
            << argument;
        EXPECT_EQ(engine().policy().mode(), core::Mode::enforce) << argument;
    }
}

/// Nought seconds were taken for "for good".
TEST_F(VerbsTest, ModeForNoTimeAtAllIsRefused) {
    EXPECT_EQ(text("MODE", "audit 0"),
              "ERR invalid: MODE takes enforce or audit, and up to 604800 seconds\n");
    EXPECT_EQ(engine().policy().mode(), core::Mode::enforce);
}

TEST_F(VerbsTest, ModeThatTheKernelCommandLineForcesStays) {
    forced = core::Mode::audit;
    EXPECT_EQ(
        text("MODE", "enforce"),
        "hint boot without it\nERR failed: the mode is set on the kernel's command line (kmodguard.mode)\n");
    EXPECT_EQ(engine().policy().mode(), core::Mode::audit);
}

TEST_F(VerbsTest, ReloadReadsTheFilesAndTheIndexAgain) {
    EXPECT_EQ(text("RELOAD"), "OK generation 2\n");
    tree.add({.name = "kmt_new"}).depmod().write(policy, "version = 1\n[allow]\nmodules = [\"kmt_new\"]\n");
    EXPECT_EQ(text("RELOAD"), "OK generation 3\n");
    EXPECT_EQ(verdict("kmt_new"), "allow");
    ASSERT_TRUE(engine().allow("kmt_deep"));
    EXPECT_EQ(text("RELOAD", "discard"), "OK generation 5\n");
    EXPECT_EQ(verdict("kmt_deep"), "refuse");
    EXPECT_EQ(text("RELOAD", "everything"), "ERR invalid: RELOAD takes nothing, or \"discard\"\n");
    tree.write(policy, "garbage");
    EXPECT_NE(text("RELOAD").find("\nERR bad-policy: "), std::string::npos) << text("RELOAD");
}

TEST_F(VerbsTest, StatusTellsAll) {
    ask("AUTOLOAD", "kmt_base");
    ask("AUTOLOAD", "kmt_deep");
    ask("ALLOW", "kmt_deep");
    EXPECT_EQ(text("STATUS"),
              std::string("version ") + installation::version
                  + "\nkernel 6.1.0-fake\ngeneration 2\npolicy-valid yes\nmode enforce\npolicy "
                  + path(policy)
                  + "\nallowed-modules 3\nallowed-aliases 1\ndenied 1\nuser-namespaces no\nunsaved-changes "
                    "1\nallowed 1\n"
                    "refused 1\naudited 0\nevents-lost 0\nOK\n");
}

TEST_F(VerbsTest, StatusHasWhatOthersInTheDaemonKnow) {
    const StatusSources sources{
        .events_lost = [] { return std::uint64_t{7}; },
        .kernel_point = [] { return kernel::Status{.state = kernel::State::active}; }};
    const protocol::Answer answer = respond(engine(), {"STATUS", ""}, sources).answer;
    EXPECT_EQ(answer.value("events-lost"), "7");
    EXPECT_EQ(kernel::status_of(answer).state, kernel::State::active);
}

TEST_F(VerbsTest, StatusTellsWhatIsWrong) {
    tree.write(policy, "garbage");
    std::filesystem::remove_all(tree / "lib/modules");
    forced = core::Mode::audit;
    const protocol::Answer answer = ask("STATUS").answer;
    EXPECT_EQ(answer.value("generation"), "0");
    EXPECT_NE(answer.value("policy-error"), "");
    EXPECT_NE(answer.value("index-error"), "");
    EXPECT_NE(answer.value("mode-forced"), "");
    EXPECT_EQ(answer.value("mode"), "audit");
}

TEST_F(VerbsTest, StatusCountsALimitedModeDown) {
    ask("MODE", "audit 1800");
    const std::string left = ask("STATUS").answer.value("mode-seconds-left");
    const auto until = engine().limited_until();
    ASSERT_TRUE(until);
    EXPECT_GE(std::chrono::seconds(std::stol(left)), *until - Engine::Clock::now());
    EXPECT_LE(std::stol(left), 1800);
}

TEST_F(VerbsTest, ListNamesEachRuleWithItsOrigin) {
    ASSERT_TRUE(engine().allow("kmt_deep"));
    const std::string file = path(policy);
    EXPECT_EQ(text("LIST"), "allow.modules kmt_base\norigin " + file + ":7\nallow.modules kmt_after\norigin "
                                + file
                                + ":8\nallow.modules kmt_deep\norigin \nallow.aliases kmt-twin-*\norigin "
                                + file + ":10\ndeny.modules kmt_twin_b\norigin " + file + ":13\nOK\n");
}

TEST_F(VerbsTest, UnknownVerbsAreInvalid) {
    for (const char* verb : {"WATCH", "check", "AUTOLOADS", "A", ""})
        EXPECT_EQ(text(verb, "kmt_base"), std::string("ERR invalid: unknown verb ") + verb + "\n");
}

TEST_F(VerbsTest, ArgumentsThatAreNoTextNameNothingAndForgeNoLine) {
    using namespace std::literals;
    for (const std::string& odd : {"\0"s, "a\0b"s, "\x1b[2J"s, "a\rOK"s, "\xff"s, "\xed\xa0\x80"s}) {
        for (const char* verb : {"CHECK", "EXPLAIN", "AUTOLOAD"})
            EXPECT_EQ(ask(verb, odd).answer.outcome, Outcome::deny) << verb << testing::PrintToString(odd);
        for (const char* verb : {"ALLOW", "DENY", "REMOVE", "MODE"})
            EXPECT_TRUE(ask(verb, odd).answer.text.starts_with("invalid: "))
                << verb << testing::PrintToString(odd);
        const std::string shown = text("EXPLAIN", odd);
        EXPECT_EQ(shown.find_first_of("\r\x1b\xff"s + '\0'), std::string::npos)
            << testing::PrintToString(shown);
    }
    EXPECT_EQ(engine().generation(), 1U);
}

TEST_F(VerbsTest, MissingAndUnwantedArgumentsAreInvalid) {
    for (const std::string verb : {"AUTOLOAD", "CHECK", "EXPLAIN", "ALLOW", "DENY", "REMOVE", "MODE"})
        EXPECT_EQ(text(verb), "ERR invalid: " + verb + " takes an argument\n");
    for (const std::string verb : {"STATUS", "LIST", "APPLY"})
        EXPECT_EQ(text(verb, "x"), "ERR invalid: " + verb + " takes no argument\n");
}

} // namespace
} // namespace kmodguard::daemon
