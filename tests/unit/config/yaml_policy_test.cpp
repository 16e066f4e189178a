// SPDX-License-Identifier: AGPL-3.0-only
//
// Good policies in the YAML form: what they come to, and that converting them keeps all of it.
#include "config/diagnostic.hpp"
#include "config/policy_file.hpp"
#include "config/policy_schema.hpp"
#include "core/decision.hpp"
#include "support.hpp"

#include <gtest/gtest.h>

namespace kmodguard::config {
namespace {

using namespace test;

const std::string hash_a(64, 'a');
const std::string hash_b(64, 'b');

PolicyResult yaml(std::string_view text, const PolicyLimits& limits = {}) {
    return parse_policy(text, "p.yaml", limits);
}

core::PolicySource yaml_source(std::string_view text) {
    const auto policy = yaml(text);
    EXPECT_TRUE(policy) << (policy ? "" : render(policy.error())) << text;
    if (!policy) return {};
    EXPECT_EQ(render(policy->warnings), "") << text;
    return policy->source;
}

TEST(YamlPolicy, AllowsTheAllowlistAndTheFrameworkAndPretendsToTheRest) {
    const auto source = yaml_source("plugins:\n  kmods:\n    allowlist: [wireguard]\n    denylist: [evil]\n");
    EXPECT_EQ(texts(source.allow_modules), (Texts{"wireguard", "igloo"}));
    EXPECT_EQ(texts(source.deny_modules), Texts{"evil"});
    EXPECT_EQ(source.mode, core::Mode::enforce);
    EXPECT_EQ(source.answer, core::CallerAnswer::pretend);
    EXPECT_FALSE(source.dependencies) << "the plugin loads what is listed and nothing else";
    EXPECT_FALSE(source.quiet);
    EXPECT_FALSE(source.unload_denied);
    EXPECT_TRUE(source.points.empty());
    EXPECT_TRUE(source.allow_aliases.empty() && source.deny_aliases.empty() && source.pins.empty());
}

TEST(YamlPolicy, WithoutListsOnlyTheFrameworkLoads) {
    for (const char* text : {"plugins: {kmods: {}}", "plugins:\n  kmods:\n    allowlist:\n    denylist:\n",
                             "plugins: {kmods: {allowlist: ~, denylist: null, quiet: , pins: }}",
                             "plugins: {kmods: {allowlist: [], denylist: []}}",
                             "{\"plugins\": {\"kmods\": {\"allowlist\": []}}}"}) {
        const auto source = yaml_source(text);
        EXPECT_EQ(texts(source.allow_modules), Texts{"igloo"}) << text;
        EXPECT_TRUE(source.deny_modules.empty()) << text;
        EXPECT_FALSE(source.quiet) << text;
    }
}

TEST(YamlPolicy, EntriesMayBeNamesFilesOrPaths) {
    const auto source =
        yaml_source("plugins: {kmods: {allowlist: [nf-conntrack, /lib/modules/x/xt_TCPMSS.ko, a.ko.xz, "
                    "b.ko.zst, 'c.ko.gz', \"\\x64\", 8021q, on]}}");
    EXPECT_EQ(texts(source.allow_modules),
              (Texts{"nf_conntrack", "xt_TCPMSS", "a", "b", "c", "d", "8021q", "on", "igloo"}));
}

TEST(YamlPolicy, AnEmptyEntryIsNeitherAllowedNorDenied) {
    const auto policy = yaml("plugins:\n  kmods:\n    allowlist:\n      - a\n      - \"\"\n      -  # none\n"
                             "\n      # more\n      - b\n    denylist: ['', ~]\n");
    ASSERT_TRUE(policy) << render(policy.error());
    EXPECT_EQ(texts(policy->source.allow_modules), (Texts{"a", "b", "igloo"}));
    EXPECT_TRUE(policy->source.deny_modules.empty());
    EXPECT_EQ(render(policy->warnings),
              "p.yaml:5:9: warning: allowlist: an empty entry names no module and is ignored\n"
              "  hint: remove it\n"
              "p.yaml:6:7: warning: allowlist: an empty entry names no module and is ignored\n"
              "  hint: remove it\n"
              "p.yaml:10:16: warning: denylist: an empty entry names no module and is ignored\n"
              "  hint: remove it\n"
              "p.yaml:10:20: warning: denylist: an empty entry names no module and is ignored\n"
              "  hint: remove it\n");
}

TEST(YamlPolicy, TheFrameworkListedByNameIsNotListedTwice) {
    const auto source = yaml_source("plugins: {kmods: {allowlist: [/igloo/boot/igloo.ko, a]}}");
    EXPECT_EQ(texts(source.allow_modules), (Texts{"igloo", "a"}));
}

TEST(YamlPolicy, DenyWinsOverTheAllowlistAndTheFramework) {
    const auto policy = yaml("plugins:\n  kmods:\n    allowlist: [a]\n    denylist: [a, igloo]\n");
    ASSERT_TRUE(policy);
    EXPECT_EQ(
        render(policy->warnings),
        "p.yaml:3: warning: \"a\" is both allowed and denied (line 4 of p.yaml): it will be refused\n"
        "  hint: deny always wins: remove it from allow.modules or from deny.modules\n"
        "p.yaml:2: warning: \"igloo\" is both allowed and denied (line 4 of p.yaml): it will be refused\n"
        "  hint: deny always wins: remove it from allow.modules or from deny.modules\n");
    const core::Policy compiled(policy->source);
    EXPECT_TRUE(compiled.denies_module("igloo"));
    EXPECT_TRUE(compiled.denies_module("a"));
}

TEST(YamlPolicy, RulesRememberTheirLines) {
    const auto source = yaml_source("# lists\nplugins:\n  kmods:\n    allowlist:\n    - a\n    - b\n"
                                    "    pins:\n      b: "
                                    + hash_a + "\n");
    ASSERT_EQ(source.allow_modules.size(), 3U);
    EXPECT_EQ(source.allow_modules[0].origin.line, 5U);
    EXPECT_EQ(source.allow_modules[1].origin.line, 6U);
    EXPECT_EQ(source.allow_modules[2].origin.line, 3U) << "igloo, by the plugin itself";
    ASSERT_EQ(source.pins.size(), 1U);
    EXPECT_EQ(source.pins[0].origin.line, 8U);
    EXPECT_EQ(source.files, Texts{"p.yaml"});
}

TEST(YamlPolicy, QuietTakesWhatTheFrameworkTakes) {
    for (const char* yes : {"true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON", "!!bool true",
                            "\"true\"", "'True'", "1", "'1'", "t", "Y"})
        EXPECT_TRUE(yaml_source(std::string("plugins: {kmods: {quiet: ") + yes + "}}").quiet) << yes;
    for (const char* no : {"false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF", "~", "\"false\"",
                           "0", "'0'", "f", "n"})
        EXPECT_FALSE(yaml_source(std::string("plugins: {kmods: {quiet: ") + no + "}}").quiet) << no;
}

TEST(YamlPolicy, PinsTakeOneHashOrSeveral) {
    const auto source = yaml_source("plugins: {kmods: {pins: {igloo: " + hash_a + ", nf-x.ko: [" + hash_a
                                    + ", \"" + hash_b + "\"]}}}");
    ASSERT_EQ(source.pins.size(), 3U);
    EXPECT_EQ(source.pins[0].module, "igloo");
    EXPECT_EQ(core::to_hex(source.pins[0].sha256), hash_a);
    EXPECT_EQ(source.pins[1].module, "nf_x");
    EXPECT_EQ(core::to_hex(source.pins[2].sha256), hash_b);
}

TEST(YamlPolicy, TheRestOfAProjectIsPassedOver) {
    const auto source = yaml_source(
        "%YAML 1.2\n---\ncore: &core\n  arch: armel\n  kernel: 4.10\n  0x10: [1, 2.5, .inf, ~, true]\n"
        "static_files:\n  /etc/x: {type: inline_file, contents: \"a\\tb\\u00e4\", mode: 0o644}\n"
        "  /init: |\n    #!/bin/sh\n    echo {{ arch }} *\n  ? /odd\n  : >-\n    folded\n    text\n"
        "plugins:\n  core: {}\n  off:\n    enabled: false\n    allowlist: 7\n"
        "  kmods:\n    description: text\n    depends_on: core\n    version: 1.0\n    enabled: true\n"
        "    allowlist: [!!str 842]\nnetwork: !!map {external: {mac: 52:54:00:12:34:56}}\n...\n");
    EXPECT_EQ(texts(source.allow_modules), (Texts{"842", "igloo"}));
}

TEST(YamlPolicy, TheOldPlaceOfThePluginIsReadWithAWarning) {
    const auto policy = yaml("core: {}\nplugins: {other: {}}\nkmods:\n  allowlist: [a]\n");
    ASSERT_TRUE(policy) << render(policy.error());
    EXPECT_EQ(texts(policy->source.allow_modules), (Texts{"a", "igloo"}));
    EXPECT_EQ(render(policy->warnings),
              "p.yaml:3:1: warning: kmods is at the top of the file, which the framework means to give up\n"
              "  hint: move it under plugins\n");
}

TEST(YamlPolicy, AProjectThatDoesNotMentionThePluginBlocksAllButTheFramework) {
    for (const char* text : {"core: {arch: armel}\n", "core: {}\nplugins:\n", "core: {}\nplugins: {}\n",
                             "core: {}\nplugins: {netdevs: {}}\n"}) {
        const auto source = yaml_source(text);
        EXPECT_EQ(texts(source.allow_modules), Texts{"igloo"}) << text;
        EXPECT_EQ(source.mode, core::Mode::enforce);
        EXPECT_EQ(source.answer, core::CallerAnswer::pretend);
        EXPECT_FALSE(source.dependencies);
    }
}

TEST(YamlPolicy, AliasesElsewhereDoNotMatter) {
    const auto source =
        yaml_source("core: {arch: &arch armel}\nenv: &env {a: *arch}\nother: {<<: *env, b: [*env]}\n"
                    "plugins: {kmods: {allowlist: [a]}, more: *env}\n");
    EXPECT_EQ(texts(source.allow_modules), (Texts{"a", "igloo"}));
}

TEST(YamlPolicy, PatchesAreMergedAsTheFrameworkMergesThem) {
    const TemporaryDirectory directory;
    const auto file =
        directory.write("config.yaml", "core: {arch: armel}\npatches: [more/first.yaml, gone.yaml]\n"
                                       "plugins: {kmods: {allowlist: [a], quiet: true}}\n");
    directory.write("more/first.yaml", "plugins:\n  kmods:\n    allowlist: [b]\n    denylist: [x]\n");
    directory.write("patch_2.yaml", "plugins: {kmods: {denylist: [y], quiet: false}}\n");
    directory.write("patch_1.yaml", "plugins: {other: {}}\n");
    directory.write("patches/z.yaml", "kmods: {allowlist: [c]}\n");
    directory.write("patches/none.yaml", "# nothing\n");
    directory.write("other.yaml", "plugins: {kmods: {allowlist: [not_this]}}\n");
    const auto policy = load_policy(file, {});
    ASSERT_TRUE(policy) << render(policy.error());
    EXPECT_EQ(texts(policy->source.allow_modules), (Texts{"a", "igloo", "b", "c"}));
    EXPECT_EQ(texts(policy->source.deny_modules), (Texts{"x", "y"}));
    EXPECT_FALSE(policy->source.quiet) << "the last one holds";
    EXPECT_EQ(policy->source.files.at(policy->source.deny_modules.at(0).origin.file),
              (directory.path() / "more/first.yaml").string());
    EXPECT_TRUE(render(policy->warnings).contains("there is no patch \"gone.yaml\""))
        << render(policy->warnings);
}

TEST(YamlPolicy, PatchesBesideAreTheProjectsToSwitchOff) {
    const TemporaryDirectory directory;
    directory.write("patch_1.yaml", "plugins: {kmods: {denylist: [y]}}\n");
    for (const auto& [text, denied] : {std::pair{"core: {auto_patching: false}\n", Texts{}},
                                       {"core: {auto_patching: true}\n", Texts{"y"}},
                                       {"core: {}\n", Texts{"y"}},
                                       {"plugins: {kmods: {}}\n", Texts{}}}) {
        const auto policy = load_policy(directory.write("config.yaml", text), {});
        ASSERT_TRUE(policy) << render(policy.error());
        EXPECT_EQ(texts(policy->source.deny_modules), denied) << text;
    }
}

TEST(YamlPolicy, TheMergedConfigurationOfARunIsReadByItself) {
    const TemporaryDirectory directory;
    directory.write("patch_1.yaml", "plugins: {kmods: {allowlist: [y]}}\n");
    const auto policy = load_policy(
        directory.write(
            "core_config.yaml",
            "core: {auto_patching: true}\npatches: [gone.yaml]\nplugins: {kmods: {allowlist: [a]}}\n"),
        {});
    ASSERT_TRUE(policy) << render(policy.error());
    EXPECT_EQ(texts(policy->source.allow_modules), (Texts{"a", "igloo"}));
    EXPECT_EQ(render(policy->warnings), "");
}

TEST(YamlPolicy, AnErrorInAPatchIsOneOfThePolicy) {
    const TemporaryDirectory directory;
    const auto file = directory.write("config.yaml", "core: {}\n");
    for (const char* text :
         {"plugins: {kmods: {allow: [a]}}\n", "plugins: {kmods: {enabled: false}}\n", "[", "- a\n",
          "a: &x {}\nplugins: *x\n", "a: &x {}\nplugins: {kmods: *x}\n", "a: &x {}\n<<: *x\n"}) {
        directory.write("patch_1.yaml", text);
        EXPECT_FALSE(load_policy(file, {})) << text;
    }
}

TEST(YamlPolicy, WindowsLineEndsAndAByteOrderMarkAreRead) {
    const auto source = yaml_source("\xEF\xBB\xBFplugins:\r\n  kmods:\r\n    allowlist:\r\n    - a\r\n");
    ASSERT_EQ(source.allow_modules.size(), 2U);
    EXPECT_EQ(source.allow_modules[0].origin.line, 4U);
}

TEST(YamlPolicy, ConvertsToTomlWithoutLoss) {
    const auto source =
        yaml_source("plugins:\n  kmods:\n    allowlist: [b, a-b]\n    denylist: [z]\n    quiet: yes\n"
                    "    pins: {igloo: "
                    + hash_b + "}\n");
    const std::string text = render_policy(source);
    const auto converted = parse_policy(text, "p.toml");
    ASSERT_TRUE(converted) << render(converted.error()) << text;
    EXPECT_EQ(render(converted->warnings), "");
    EXPECT_EQ(texts(converted->source.allow_modules), (Texts{"a_b", "b", "igloo"}));
    EXPECT_EQ(texts(converted->source.deny_modules), Texts{"z"});
    EXPECT_EQ(converted->source.mode, core::Mode::enforce);
    EXPECT_EQ(converted->source.answer, core::CallerAnswer::pretend);
    EXPECT_FALSE(converted->source.dependencies);
    EXPECT_TRUE(converted->source.quiet);
    ASSERT_EQ(converted->source.pins.size(), 1U);
    EXPECT_EQ(converted->source.pins[0].module, "igloo");
    EXPECT_EQ(core::to_hex(converted->source.pins[0].sha256), hash_b);
    EXPECT_EQ(render_policy(converted->source), text);
}

TEST(YamlPolicy, TheSuffixDecides) {
    const TemporaryDirectory directory;
    for (const char* name : {"p.yaml", "p.yml", "policy.d.yaml"}) {
        const auto file = directory.write(name, "plugins: {kmods: {allowlist: [a]}}");
        const auto policy = load_policy(file, {});
        ASSERT_TRUE(policy) << render(policy.error());
        EXPECT_EQ(texts(policy->source.allow_modules), (Texts{"a", "igloo"}));
    }
    for (const char* name : {"p.toml", "p", "p.yaml.toml", "yaml"})
        EXPECT_FALSE(load_policy(directory.write(name, "plugins: {kmods: {}}"), {})) << name;
}

TEST(YamlPolicy, DropInsAddToItAndAreToml) {
    const TemporaryDirectory directory;
    const auto file = directory.write("p.yaml", "plugins: {kmods: {allowlist: [a]}}");
    directory.write("d/1.toml", "version = 1\n[allow]\nmodules = ['b']\n");
    directory.write("d/2.yaml", "plugins: {kmods: {allowlist: [c]}}");
    const auto policy = load_policy({file, directory.path() / "d"});
    ASSERT_TRUE(policy) << render(policy.error());
    EXPECT_EQ(texts(policy->source.allow_modules), (Texts{"a", "igloo", "b"}));
    EXPECT_EQ(policy->source.answer, core::CallerAnswer::pretend);
}

} // namespace
} // namespace kmodguard::config
