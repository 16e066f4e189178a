// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows how a command line is read, in whichever order it is written, and that a mistake in it is told with
// exit code 2 before anything is done.
#include "ctl/arguments.hpp"
#include "ctl/verbs.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <optional>
#include <string>
#include <vector>

namespace kmodguard::ctl {
namespace {

Parsed parse(Words words) {
    words.insert(words.begin(), "kmodctl");
    std::vector<char*> pointers;
    for (std::string& word : words)
        pointers.push_back(word.data());
    pointers.push_back(nullptr);
    return parse_arguments(static_cast<int>(words.size()), pointers.data());
}

Invocation invocation(const Words& words) {
    Parsed parsed = parse(words);
    if (const int* code = std::get_if<int>(&parsed)) {
        ADD_FAILURE() << testing::PrintToString(words) << " gives exit code " << *code;
        return {};
    }
    return std::get<Invocation>(std::move(parsed));
}

Context context(const Words& words) {
    return invocation(words).context;
}

template <typename Taken>
Taken options(const Words& words) {
    return std::get<Taken>(invocation(words).options);
}

struct Refusal {
    int code = -1;
    std::string text; ///< on standard error, after what is on standard output
};

Refusal refusal(const Words& words) {
    testing::internal::CaptureStdout();
    testing::internal::CaptureStderr();
    const Parsed parsed = parse(words);
    std::string text = testing::internal::GetCapturedStdout();
    text += testing::internal::GetCapturedStderr();
    const int* code = std::get_if<int>(&parsed);
    return {code != nullptr ? *code : -1, text};
}

class ArgumentsTest : public ::testing::Test {
  protected:
    ArgumentsTest() { ::unsetenv("KMODGUARD_ROOT"); }
    ~ArgumentsTest() override { ::unsetenv("KMODGUARD_ROOT"); }
};

TEST_F(ArgumentsTest, VerbWithItsArguments) {
    EXPECT_EQ(context({"status"}).verb, "status");
    EXPECT_EQ(options<CheckOptions>({"check", "a", "net-pf-15", "b"}).tokens, (Words{"a", "net-pf-15", "b"}));
    EXPECT_EQ(options<RequestOptions>({"allow", "loop"}).argument, "loop");
    EXPECT_EQ(options<LintOptions>({"lint"}).file, std::nullopt);
    EXPECT_FALSE(context({"status"}).json);
    EXPECT_FALSE(context({"status"}).paths.moved());
}

TEST_F(ArgumentsTest, OptionsMayStandBeforeAndBehindTheVerb) {
    for (const Words& words :
         {Words{"--json", "--root", "/r", "check", "a"}, Words{"check", "--json", "--root=/r", "a"},
          Words{"check", "a", "--root", "/r", "--json"}}) {
        const Context read = context(words);
        EXPECT_TRUE(read.json);
        EXPECT_FALSE(read.colour);
        EXPECT_EQ(read.paths.root(), "/r");
        EXPECT_EQ(options<CheckOptions>(words).tokens, Words{"a"});
    }
}

TEST_F(ArgumentsTest, EnvironmentMovesTheRootAndTheOptionIsStronger) {
    ::setenv("KMODGUARD_ROOT", "/environment", 1);
    EXPECT_EQ(context({"status"}).paths.root(), "/environment");
    EXPECT_EQ(context({"--root", "/option", "status"}).paths.root(), "/option");
}

TEST_F(ArgumentsTest, OptionsOfAVerbAreFoundByName) {
    const auto limited = options<ModeOptions>({"mode", "audit", "--for", "30m"});
    EXPECT_EQ(limited.limit, std::chrono::minutes(30));
    EXPECT_EQ(limited.mode, core::Mode::audit);
    EXPECT_EQ(options<ModeOptions>({"mode", "audit"}).limit, std::nullopt);
    EXPECT_TRUE(options<DisarmOptions>({"disarm", "--force"}).force);
    EXPECT_FALSE(options<DisarmOptions>({"disarm"}).force);
    EXPECT_EQ(options<InitOptions>({"init", "--output", "-"}).output, "-");
    const auto other = options<CheckOptions>({"check", "--policy", "p.toml", "--kernel", "6.1", "x"});
    EXPECT_EQ(other.policy, "p.toml");
    EXPECT_EQ(other.kernel.value().name, "6.1");
}

TEST_F(ArgumentsTest, NameThatBeginsWithADashStandsBehindTwo) {
    EXPECT_EQ(options<CheckOptions>({"check", "--", "-r"}).tokens, Words{"-r"});
    EXPECT_EQ(refusal({"check", "-r"}).code, exit_usage);
}

TEST_F(ArgumentsTest, HookGetsTheKernelsArgumentsAsTheyAre) {
    EXPECT_EQ(options<RawOptions>({"hook", "-q", "--", "net-pf-15"}).words, (Words{"-q", "--", "net-pf-15"}));
    EXPECT_EQ(options<RawOptions>({"hook", "-q", "--", "--json"}).words, (Words{"-q", "--", "--json"}));
    EXPECT_EQ(options<RawOptions>({"hook", "-q", "--", "-r"}).words, (Words{"-q", "--", "-r"}));
    EXPECT_EQ(options<RawOptions>({"hook"}).words, Words{});
    EXPECT_EQ(context({"--root", "/r", "hook", "-q", "--", "a"}).paths.root(), "/r");
}

TEST_F(ArgumentsTest, UnknownVerbSuggestsTheNearest) {
    const Refusal typo = refusal({"statsu"});
    EXPECT_EQ(typo.code, exit_usage);
    EXPECT_EQ(typo.text, "kmodctl: unknown verb \"statsu\"\n  hint: did you mean \"status\"?\n");
    const Refusal nonsense = refusal({"--root", "/r", "frobnicate", "x"});
    EXPECT_EQ(nonsense.code, exit_usage);
    EXPECT_EQ(nonsense.text,
              "kmodctl: unknown verb \"frobnicate\"\n  hint: kmodctl --help lists the verbs\n");
}

TEST_F(ArgumentsTest, MistakesAreExitCodeTwo) {
    for (const Words& words :
         {Words{}, Words{"--json"}, Words{"--root"}, Words{"allow"}, Words{"allow", "a", "b"},
          Words{"status", "x"}, Words{"check"}, Words{"explain", "a", "b"}, Words{"mode", "audit", "enforce"},
          Words{"mode", "audit", "--for"}, Words{"status", "--no-such-option"}, Words{"lint", "a", "b"},
          Words{"status", "status"}}) {
        const Refusal mistake = refusal(words);
        EXPECT_EQ(mistake.code, exit_usage) << testing::PrintToString(words);
        EXPECT_NE(mistake.text, "") << testing::PrintToString(words);
    }
}

TEST_F(ArgumentsTest, MistakesAreObjectsWithJson) {
    for (const Words& words :
         {Words{"--json"}, Words{"--json", "statsu"}, Words{"status", "--json", "x"}, Words{"exec", "--json"},
          Words{"check", "--json", "--kernel", "", "a"}, Words{"--json", "status", "--root", ""}}) {
        const Refusal mistake = refusal(words);
        EXPECT_EQ(mistake.code, exit_usage) << testing::PrintToString(words);
        EXPECT_TRUE(mistake.text.starts_with("{\"error\":\"")) << mistake.text;
        EXPECT_TRUE(mistake.text.ends_with(",\"exit\":2}\n")) << mistake.text;
    }
}

/// It was thrown out with the text of an exception, or looked for modules in the folder above.
TEST_F(ArgumentsTest, ValuesThatAreNoneAreNamed) {
    EXPECT_EQ(refusal({"init", "--output", ""}).text,
              "kmodctl init: --output \"\" is empty\n  hint: --output takes FILE: write there instead of "
              "/etc/kmodguard/policy.toml; \"-\" prints it\n");
    for (const char* release : {"", "../x", "/", "..", ".", "a/b", "a\nb"})
        for (const Words& words :
             {Words{"check", "--kernel", release, "a"}, Words{"lint", "--kernel", release},
              Words{"exec", "--kernel", release, "--", "true"}}) {
            const Refusal mistake = refusal(words);
            EXPECT_EQ(mistake.code, exit_usage) << release;
            EXPECT_NE(mistake.text.find("--kernel \""), std::string::npos) << mistake.text;
        }
    EXPECT_EQ(options<CheckOptions>({"check", "--kernel", "6.1.0-9-amd64", "a"}).kernel.value().name,
              "6.1.0-9-amd64");
    EXPECT_EQ(refusal({"--root", "", "status"}).code, exit_usage);
    ::setenv("KMODGUARD_ROOT", "", 1);
    EXPECT_FALSE(context({"status"}).paths.moved());
}

TEST_F(ArgumentsTest, HelpIsNoMistakeAndShowsTheVerbs) {
    const Refusal help = refusal({"--help"});
    EXPECT_EQ(help.code, exit_done);
    for (const Verb& verb : verbs())
        EXPECT_EQ(help.text.find("\n  " + std::string(verb.name)) != std::string::npos,
                  !verb.name.starts_with("__"))
            << verb.name;
    EXPECT_NE(refusal({"check", "--help"}).text.find("--kernel"), std::string::npos);
    EXPECT_EQ(refusal({"hook", "--help"}).code, exit_done);
    EXPECT_TRUE(refusal({"--version"}).text.starts_with("kmodctl "));
}

} // namespace
} // namespace kmodguard::ctl
