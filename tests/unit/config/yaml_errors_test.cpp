// SPDX-License-Identifier: AGPL-3.0-only
//
// Bad policies in the YAML form: exactly what their authors are told, and that nothing takes the reader down.
#include "config/diagnostic.hpp"
#include "config/document.hpp"
#include "support.hpp"

#include <gtest/gtest.h>

namespace kmodguard::config {
namespace {

using namespace test;

/// What is said of a whole file.
std::string said_of_yaml(std::string_view text, const PolicyLimits& limits = {}) {
    const auto policy = parse_policy(text, "p.yaml", limits);
    return (policy ? "accepted; " : "") + render(policy ? policy->warnings : policy.error());
}

/// What is said of the plugin's own lines, of which the first is line 3.
std::string said_of_kmods(const std::string& lines) {
    return said_of_yaml("plugins:\n  kmods:\n" + lines);
}

const std::string syntax_hint =
    "\n  hint: indent with spaces, and put in quotes what holds any of : # [ ] { } , & * ! | > ' \" % @ `\n";

const std::string merged_hint =
    "  hint: write it out, or give the core_config.yaml of a run's output folder, in "
    "which the framework has done so\n";

std::string many_of(std::string_view piece, std::size_t count) {
    std::string text;
    while (count-- > 0)
        text += piece;
    return text;
}

struct Case {
    std::string text;
    std::string said;
};

TEST(YamlErrors, WithoutThePluginThereIsNoPolicy) {
    const std::string message =
        "error: there is no plugins.kmods, which is all that a YAML policy consists of\n";
    const std::string hint =
        "  hint: write plugins: { kmods: { allowlist: [...] } }, or the policy as TOML\n";
    const std::vector<Case> cases = {
        {"", "p.yaml:1:1: " + message + hint},
        {"# nothing\n", "p.yaml:1:1: " + message + hint},
        {"just words", "p.yaml:1:1: " + message + hint},
        {"- a\n- b\n", "p.yaml:1:1: " + message + hint},
        {"core:\n", "p.yaml:1:1: " + message + hint},
        {"more: {}\nplugins:\n", "p.yaml:2:1: " + message + hint},
        {"more: {}\nplugins: {}\n", "p.yaml:2:1: " + message + hint},
        {"more: {}\nplugins: {netdevs: {}}\n", "p.yaml:2:1: " + message + hint},
        {"core: {}\nplugins:\n  kmod: {}\n",
         "p.yaml:3:3: " + message + "  hint: did you mean \"kmods\" instead of \"kmod\"?\n"},
        {"core: {}\nplugin:\n  kmods: {}\n",
         "p.yaml:2:1: " + message + "  hint: did you mean \"plugins\" instead of \"plugin\"?\n"},
        {"plugins: [kmods]\n",
         "p.yaml:1:10: error: plugins: expected a mapping, found a list\n" + merged_hint},
        {"plugins: {kmods: {}}\nkmods: {}\n",
         "p.yaml:2:1: error: kmods is both here and under plugins\n  hint: remove this one\n"},
    };
    for (const Case& one : cases)
        EXPECT_EQ(said_of_yaml(one.text), one.said) << one.text;
}

TEST(YamlErrors, WrongTypesSayWhatWasExpectedAndFound) {
    const std::string empty_hint = "  hint: \"kmods: {}\" allows nothing but the framework's module\n";
    EXPECT_EQ(said_of_yaml("plugins:\n  kmods:\n  allowlist: [a]\n"),
              "p.yaml:2:3: error: kmods: expected a mapping, found nothing\n" + empty_hint);
    EXPECT_EQ(said_of_yaml("plugins: {kmods: [a]}"),
              "p.yaml:1:18: error: kmods: expected a mapping, found a list\n" + empty_hint);
    const std::vector<Case> cases = {
        {"    allowlist: wireguard",
         "p.yaml:3:16: error: allowlist: expected a list of module names, found the string \"wireguard\"\n"},
        {"    denylist: {a: b}",
         "p.yaml:3:15: error: denylist: expected a list of module names, found a mapping\n"},
        {"    allowlist: [a, [b]]", "p.yaml:3:20: error: allowlist: expected a module name, found a list\n"
                                    "  hint: put the name in quotes\n"},
        {"    allowlist: [842]",
         "p.yaml:3:17: error: allowlist: expected a module name, found the integer 842\n"
         "  hint: put the name in quotes\n"},
        {"    allowlist: [0x1F]",
         "p.yaml:3:17: error: allowlist: expected a module name, found the integer 0x1F\n"
         "  hint: put the name in quotes\n"},
        {"    allowlist:\n    - -1.5e3\n",
         "p.yaml:4:7: error: allowlist: expected a module name, found a floating-point number\n"
         "  hint: put the name in quotes\n"},
        {"    allowlist:\n    - true\n", "p.yaml:4:7: error: allowlist: expected a module name, found true\n"
                                         "  hint: put the name in quotes\n"},
        {"    quiet: 2", "p.yaml:3:12: error: quiet: expected true or false, found the integer 2\n"},
        {"    quiet: maybe",
         "p.yaml:3:12: error: quiet: expected true or false, found the string \"maybe\"\n"},
        {"    enabled: [no]", "p.yaml:3:14: error: enabled: expected true or false, found a list\n"},
        {"    pins: [a]",
         "p.yaml:3:11: error: pins: expected a mapping of module names to hashes, found a list\n"},
        {"    pins: {a: }", "p.yaml:3:12: error: pins.a: expected a string, found nothing\n"},
        {"    pins: {a: 7}", "p.yaml:3:15: error: pins.a: expected a string, found the integer 7\n"},
    };
    for (const Case& one : cases)
        EXPECT_EQ(said_of_kmods(one.text), one.said) << one.text;
}

TEST(YamlErrors, UnknownKeysSuggestTheNearest) {
    const std::vector<Case> cases = {
        {"    allow_list: [a]\n", "p.yaml:3:5: error: unknown key \"allow_list\" in plugins.kmods\n"
                                  "  hint: did you mean \"allowlist\"?\n"},
        {"    denylists: [a]\n", "p.yaml:3:5: error: unknown key \"denylists\" in plugins.kmods\n"
                                 "  hint: did you mean \"denylist\"?\n"},
        {"    quiets: true\n",
         "p.yaml:3:5: error: unknown key \"quiets\" in plugins.kmods\n  hint: did you mean \"quiet\"?\n"},
        {"    mode: audit\n", "p.yaml:3:5: error: unknown key \"mode\" in plugins.kmods\n"
                              "  hint: known here: allowlist, denylist, quiet, pins\n"},
        {"    7: a\n", "p.yaml:3:5: error: unknown key \"7\" in plugins.kmods\n"
                       "  hint: known here: allowlist, denylist, quiet, pins\n"},
    };
    for (const Case& one : cases)
        EXPECT_EQ(said_of_kmods(one.text), one.said) << one.text;
}

TEST(YamlErrors, APluginThatIsSwitchedOffIsNoPolicy) {
    for (const char* off : {"false", "no", "Off"})
        EXPECT_EQ(said_of_kmods(std::string("    allowlist: [a]\n    enabled: ") + off),
                  "p.yaml:4:14: error: this plugin is switched off, so its lists are no policy\n"
                  "  hint: remove \"enabled\", or set it to true\n");
}

TEST(YamlErrors, EntriesMustNameModules) {
    const std::vector<Case> cases = {
        {"    allowlist: ['snd_*']",
         "p.yaml:3:17: error: allowlist: \"snd_*\" is a pattern, not a module name\n"
         "  hint: patterns mean nothing here; a TOML policy (`kmodctl convert`) takes them in "
         "allow.aliases\n"},
        {"    denylist:\n      - kernel/net/\n",
         "p.yaml:4:9: error: denylist: \"kernel/net/\" is a path, not a module name\n"
         "  hint: write the module's name alone\n"},
        {"    denylist: [\"a b\"]",
         "p.yaml:3:16: error: denylist: \"a b\" is not a module name\n"
         "  hint: letters, digits, '_', '-', '+' and '.' only, as lsmod shows it\n"},
        {"    allowlist: [\"{{ driver }}\"]",
         "p.yaml:3:17: error: allowlist: \"{{ driver }}\" is not a module name\n" + merged_hint},
        {"    allowlist: [\"a\\x04\"]",
         "p.yaml:3:17: error: allowlist: \"a\\x04\" is not a module name\n"
         "  hint: letters, digits, '_', '-', '+' and '.' only, as lsmod shows it\n"},
        {"    allowlist: [/lib/" + std::string(56, 'a') + ".ko]",
         "p.yaml:3:17: error: allowlist: \"/lib/" + std::string(56, 'a')
             + ".ko\" is a path, not a module name\n  hint: write the module's name alone\n"},
        {"    pins: {'a*': " + std::string(64, '0') + "}",
         "p.yaml:3:12: error: pins: \"a*\" is a pattern, not a module name\n"
         "  hint: patterns mean nothing here; a TOML policy (`kmodctl convert`) takes them in "
         "allow.aliases\n"},
    };
    for (const Case& one : cases)
        EXPECT_EQ(said_of_kmods(one.text), one.said) << one.text;
}

TEST(YamlErrors, PinsMustBeHashes) {
    const std::vector<Case> cases = {
        {"    pins: {igloo: abc}",
         "p.yaml:3:19: error: pins.igloo has 3 characters; a SHA-256 has 64 hexadecimal digits\n"
         "  hint: take it from the uncompressed image: sha256sum of the .ko file\n"},
        {"    pins: {igloo: [" + std::string(64, 'g') + "]}",
         "p.yaml:3:20: error: pins.igloo holds something else than hexadecimal digits\n"
         "  hint: take it from the uncompressed image: sha256sum of the .ko file\n"},
        {"    pins: {igloo: []}", "p.yaml:3:19: error: pins: no hash is given for igloo\n"
                                  "  hint: give its SHA-256, or remove the pin\n"},
    };
    for (const Case& one : cases)
        EXPECT_EQ(said_of_kmods(one.text), one.said) << one.text;
}

TEST(YamlErrors, AllErrorsAreReportedInTheOrderOfTheFile) {
    EXPECT_EQ(said_of_kmods("    quiet: 7\n    foo: 1\n    denylist: ['/']\n"),
              "p.yaml:3:12: error: quiet: expected true or false, found the integer 7\n"
              "p.yaml:4:5: error: unknown key \"foo\" in plugins.kmods\n"
              "  hint: known here: allowlist, denylist, quiet, pins\n"
              "p.yaml:5:16: error: denylist: \"/\" is a path, not a module name\n"
              "  hint: write the module's name alone\n");
}

TEST(YamlErrors, WhatYamlAllowsAndAPolicyDoesNot) {
    const std::vector<Case> cases = {
        {"plugins: {kmods: {quiet: true, quiet: false}}",
         "p.yaml:1:32: error: the key \"quiet\" is given twice\n  hint: remove one of them\n"},
        {"plugins:\n  kmods: {}\nother: 1\nplugins: {}\n",
         "p.yaml:4:1: error: the key \"plugins\" is given twice\n  hint: remove one of them\n"},
        {"a: &x b\n*x : c\n", "p.yaml:2:1: error: an alias as a key, which is not read\n"
                              "  hint: write out what it stands for\n"},
        {"a: &x {}\nplugins: *x\n",
         "p.yaml:2:10: error: plugins: expected a mapping, found an alias, which is not looked up here\n"
             + merged_hint},
        {"a: &x [m]\nplugins: {kmods: {allowlist: *x}}\n",
         "p.yaml:2:30: error: allowlist: expected a list of module names, found an alias, which is not "
         "looked "
         "up here\n"},
        {"a: {b: &x {}}\nplugins:\n  <<: *x\n  kmods: {}\n",
         "p.yaml:3:3: error: a merge (\"<<\") of what may be about kmods, which is not read\n" + merged_hint},
        {"plugins: {kmods: {}}\n---\nplugins: {kmods: {allowlist: [a]}}\n",
         "p.yaml:2:1: error: something follows the document, and a policy is one document\n"
         "  hint: remove it, and a \"---\" or \"...\" before it\n"},
        {"a: b\n... \nc: d\n",
         "p.yaml:3:1: error: something follows the document, and a policy is one document\n"
         "  hint: remove it, and a \"---\" or \"...\" before it\n"},
        {"plugins: {kmods: {}}\n]\n", "p.yaml:2:1: error: not YAML: illegal flow end" + syntax_hint},
        {"a: !mine b\n", "p.yaml:1:4: error: a tag that is not known here: \"!mine\"\n  hint: remove it\n"},
        {"a: !<x:y> [b]\n", "p.yaml:1:4: error: a tag that is not known here: \"x:y\"\n  hint: remove it\n"},
        {"a: {{ arch }}\n", "p.yaml:1:5: error: a key that is a mapping or a list\n"
                            "  hint: keys are words; put what begins with { or [ in quotes\n"},
        {"? [a]\n: b\n", "p.yaml:1:3: error: a key that is a mapping or a list\n"
                         "  hint: keys are words; put what begins with { or [ in quotes\n"},
    };
    for (const Case& one : cases)
        EXPECT_EQ(said_of_yaml(one.text), one.said) << one.text;
}

TEST(YamlErrors, SyntaxErrorsShowTheirPlace) {
    const std::vector<Case> cases = {
        {"plugins:\n  kmods: {allowlist: [a}\n",
         "p.yaml:2:24: error: not YAML: illegal flow end" + syntax_hint},
        {"plugins: {kmods: {}\n", "p.yaml:2:1: error: not YAML: end of map flow not found" + syntax_hint},
        {"plugins:\n  kmods: *gone\n",
         "p.yaml:2:10: error: not YAML: the referenced anchor is not defined" + syntax_hint},
        {"a: b: c\n", "p.yaml:1:5: error: not YAML: illegal map value" + syntax_hint},
        {"a: \"b\n", "p.yaml:2:1: error: not YAML: illegal EOF in scalar" + syntax_hint},
        {"a: \"b", "p.yaml:1:6: error: not YAML: illegal EOF in scalar" + syntax_hint},
        {"a: \"", "p.yaml:1:5: error: not YAML: illegal EOF in scalar" + syntax_hint},
        {"plugins:\n  kmods:\n    description: 'x\n    denylist: [evil]\n",
         "p.yaml:5:1: error: not YAML: illegal EOF in scalar" + syntax_hint},
        {"a: @b\n", "p.yaml:1:4: error: not YAML: unknown token" + syntax_hint},
        {"%YAML 3.0\n---\na: b\n", "p.yaml:1:1: error: not YAML: YAML major version too large" + syntax_hint},
    };
    for (const Case& one : cases)
        EXPECT_EQ(said_of_yaml(one.text), one.said) << one.text;
}

TEST(YamlErrors, ColumnsCountCharacters) {
    EXPECT_EQ(said_of_yaml("'\xC3\xA4\xE2\x82\xAC\xF0\x9F\x90\xA7': !x a\n"),
              "p.yaml:1:8: error: a tag that is not known here: \"!x\"\n  hint: remove it\n");
    EXPECT_EQ(said_of_yaml("\xEF\xBB\xBF\xC3\xA4: [\xC3\xA4, !x a]\n"),
              "p.yaml:1:8: error: a tag that is not known here: \"!x\"\n  hint: remove it\n");
}

TEST(YamlErrors, BytesThatAreNoTextAreRefusedWhereTheyStand) {
    const std::string hint = "\n  hint: save the file as plain text, in UTF-8\n";
    const std::vector<Case> cases = {
        {std::string("a: b\nc: \0", 9), "p.yaml:2:4: error: a NUL byte: this is not a text file" + hint},
        {"a: \xC3\xA4\x04", "p.yaml:1:5: error: the character U+0004 has no place in a policy" + hint},
        {"a: \xC2\x85", "p.yaml:1:4: error: the character U+0085 has no place in a policy" + hint},
        {"a: \xE2\x80\xA8", "p.yaml:1:4: error: the character U+2028 has no place in a policy" + hint},
        {"a: \xEF\xBB\xBF", "p.yaml:1:4: error: the character U+FEFF has no place in a policy" + hint},
        {"# a\rplugins: {}", "p.yaml:1:4: error: a carriage return without a line feed" + hint},
        {"a: \xFF", "p.yaml:1:4: error: the byte 0xff is not UTF-8" + hint},
        {"\xFE\xFF\0a", "p.yaml:1:1: error: the byte 0xfe is not UTF-8" + hint},
        {"a: \xC0\x80", "p.yaml:1:4: error: the byte 0xc0 is not UTF-8" + hint},
        {"a: \xE0\x80\x80", "p.yaml:1:4: error: the byte 0xe0 is not UTF-8" + hint},
        {"a: \xED\xA0\x80", "p.yaml:1:4: error: the byte 0xed is not UTF-8" + hint},
        {"a: \xF4\x90\x80\x80", "p.yaml:1:4: error: the byte 0xf4 is not UTF-8" + hint},
        {"a: \xE2\x82", "p.yaml:1:4: error: the byte 0xe2 is not UTF-8" + hint},
    };
    for (const Case& one : cases)
        EXPECT_EQ(said_of_yaml(one.text), one.said) << one.text;
}

TEST(YamlErrors, DepthIsBounded) {
    const std::string hint = "  hint: keep plugins.kmods in a file of its own\n";
    const std::string deep = ": error: nested more than 64 deep\n" + hint;
    EXPECT_EQ(said_of_yaml(many_of("[", 65) + many_of("]", 65)), "p.yaml:1:65" + deep);
    EXPECT_EQ(said_of_yaml(many_of("{a: ", 65) + many_of("}", 65)), "p.yaml:1:257" + deep);
    EXPECT_EQ(said_of_yaml(many_of("- ", 300'000)), "p.yaml:1:129" + deep);
    EXPECT_EQ(said_of_yaml(many_of("- [", 300'000)).find("p.yaml:1:"), 0U);
    const std::string allowed =
        said_of_yaml("x: " + many_of("[", 63) + many_of("]", 63) + "\nplugins: {kmods: {}}");
    EXPECT_EQ(allowed, "accepted; ");
}

TEST(YamlErrors, SizeIsBounded) {
    const std::string hint = "  hint: keep plugins.kmods in a file of its own\n";
    EXPECT_EQ(said_of_yaml("x:\n" + many_of("- a\n", max_yaml_indicators / 3)),
              "p.yaml:250002:3: error: more than 250000 values\n" + hint);
    EXPECT_EQ(said_of_yaml("x: " + many_of("[", 1'000'001)),
              "p.yaml: error: too much structure: this is not a policy\n" + hint);
    EXPECT_EQ(said_of_yaml("plugins: {kmods: {}}", {.file_bytes = 10}),
              "p.yaml: error: larger than 10 bytes\n"
              "  hint: cover whole families of modules by patterns in allow.aliases\n");
    EXPECT_EQ(said_of_yaml("plugins: {kmods: {allowlist: [a, b], denylist: [c]}}", {.entries = 2}),
              "p.yaml:1:49: error: too many entries in the policy\n"
              "  hint: cover whole families of modules by patterns in allow.aliases\n");
}

TEST(YamlErrors, AliasesCannotMultiply) {
    std::string bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n";
    for (int i = 1; i < 9; ++i)
        bomb += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " ["
                + many_of("*a" + std::to_string(i - 1) + ", ", 9) + "]\n";
    EXPECT_EQ(said_of_yaml(bomb + "plugins: {kmods: {}}\n"), "accepted; ") << "they are not looked up";
    EXPECT_TRUE(
        said_of_yaml(bomb + "plugins: {kmods: {allowlist: *a8}}\n")
            .starts_with("p.yaml:10:30: error: allowlist: expected a list of module names, found an alias"));
}

TEST(YamlErrors, AreNotReportedWithoutEnd) {
    const auto policy =
        parse_policy("plugins: {kmods: {allowlist: [" + many_of("/,", 1500) + "]}}", "p.yaml");
    ASSERT_FALSE(policy);
    EXPECT_EQ(policy.error().size(), 1001U);
}

} // namespace
} // namespace kmodguard::config
