// SPDX-License-Identifier: AGPL-3.0-only
#include "config/diagnostic.hpp"
#include "config/lint.hpp"
#include "fake_index.hpp"
#include "support.hpp"

#include <gtest/gtest.h>

namespace kmodguard::config {
namespace {

using ::kmodguard::test::content;
using ::kmodguard::test::FakeIndex;

class Lint : public ::testing::Test {
  protected:
    /// What lint says of a policy called p.toml, version line excluded: line 2 is the first of `text`.
    std::string said(const std::string& text) {
        const auto policy = parse_policy("version = 1\n" + text, "p.toml");
        if (!policy) return render(policy.error());
        return render(
            lint(policy->source, index_,
                 {.many_modules = 2, .loaded = loaded_, .former = &former_, .former_release = "6.1"}));
    }

    FakeIndex index_;
    FakeIndex former_;
    std::optional<std::vector<std::string>> loaded_;
};

TEST_F(Lint, ASoundPolicyHasNoFindings) {
    index_.module("loop").alias("block-major-7-*");
    index_.module("dm_mod");
    EXPECT_EQ(said("[allow]\nmodules = ['dm_mod']\naliases = ['block-major-7-*', 'block-major-7-0', 'loop', "
                   "'bl*']\n[deny]\naliases = []\n"),
              "");
}

TEST_F(Lint, ModulesThatThisKernelDoesNotHave) {
    index_.module("loop").alias("block-major-7-*");
    EXPECT_EQ(said("[allow]\nmodules = ['lop']\n[deny]\nmodules = ['dcpp',\n 'block_major_7_0']\n"),
              "p.toml:3: warning: allow.modules: there is no module lop on this kernel\n"
              "  hint: check the spelling with `modinfo`; it may belong to another kernel\n"
              "p.toml:5: warning: deny.modules: there is no module dcpp on this kernel\n"
              "  hint: check the spelling with `modinfo`; it may belong to another kernel\n"
              "p.toml:6: warning: deny.modules: there is no module block_major_7_0 on this kernel\n"
              "  hint: it is an alias of loop, and denied as one: it belongs into deny.aliases\n");
    EXPECT_EQ(said("[allow]\nmodules = ['block_major_7_0']\n"),
              "p.toml:3: warning: allow.modules: there is no module block_major_7_0 on this kernel\n"
              "  hint: it is an alias of loop: list that, or write the alias to allow.aliases\n");
}

/// A misspelt alias allowed or denied nothing, and no word was said of it.
TEST_F(Lint, AliasesThatNothingAnswersTo) {
    index_.module("loop").alias("block-major-7-*");
    index_.module("af_key").alias("net-pf-15");
    index_.module("ext4").built_in().alias("fs-ext4");
    EXPECT_EQ(said("[allow]\naliases = ['block-major-7-*',\n'net-pf-99', 'fs-ext4',\n'usb:*']\n"
                   "[deny]\naliases = ['net-fp-15', 'net-*', 'net_pf_15']\n"),
              "p.toml:4: warning: allow.aliases: nothing on this kernel answers to \"net-pf-99\"\n"
              "  hint: did you mean \"net_pf_15\"? otherwise it may belong to another kernel\n"
              "p.toml:5: warning: allow.aliases: nothing on this kernel answers to \"usb:*\"\n"
              "  hint: check the spelling with `modinfo`; it may belong to another kernel\n"
              "p.toml:7: warning: deny.aliases: nothing on this kernel answers to \"net-fp-15\"\n"
              "  hint: did you mean \"net_pf_15\"? otherwise it may belong to another kernel\n");
}

/// Thousands of aliases asked for the state of every module's file: more than a minute.
TEST_F(Lint, ReadsAliasesOnceHoweverManyAreListed) {
    class Counting : public FakeIndex {
      public:
        bool for_each_alias(const core::AliasVisitor& visit) override {
            ++told;
            return FakeIndex::for_each_alias(visit);
        }
        const std::vector<std::string>* aliases(std::string_view name) override {
            ++asked;
            return FakeIndex::aliases(name);
        }
        int told = 0;
        int asked = 0;
    } index;
    core::PolicySource source;
    for (int i = 0; i < 100; ++i) {
        const std::string number = std::to_string(i);
        index.module("m" + number).alias("usb:v" + number + "*");
        source.allow_aliases.push_back({"usb:v" + number + "*", {}});
    }
    EXPECT_EQ(render(lint(source, index)), "");
    EXPECT_EQ(index.told, 1);
    EXPECT_EQ(index.asked, 0);
}

TEST_F(Lint, AliasesThatCannotBeReadAreSaidToBeUnchecked) {
    core::NoModules none;
    core::PolicySource source;
    source.allow_aliases.push_back({"net-pf-15", {}});
    EXPECT_EQ(render(lint(source, none)),
              "warning: the aliases of this kernel's modules cannot be read\n"
              "  hint: run `depmod`; what alias patterns reach was not checked\n");
}

TEST_F(Lint, BuiltInModulesAreSaidPlainly) {
    index_.module("ext4").built_in();
    index_.module("unix").built_in();
    EXPECT_EQ(said("[allow]\nmodules = ['ext4']\n[deny]\nmodules = ['unix']\n"),
              "p.toml:3: warning: ext4 is built into this kernel: there is nothing to load\n"
              "  hint: the entry does no harm, and is needed on a kernel that has it as a module\n"
              "p.toml:5: warning: unix is built into this kernel: it is there already and cannot be refused\n"
              "  hint: no module control applies to it; only a kernel built without it leaves it out\n");
}

/// "check the spelling" was said of a module that the new kernel has under another name.
TEST_F(Lint, AModuleWithAnotherNameOnThisKernelIsFoundByItsAliases) {
    former_.module("old_nic").alias("pci:v0001*", "pci:v0002*");
    former_.module("both").alias("pci:v0002*");
    index_.module("new_nic").alias("pci:v0001*", "pci:v0002*");
    index_.module("part_nic").alias("pci:v0002*");
    index_.module("both").alias("pci:v0002*");
    EXPECT_EQ(said("[allow]\nmodules = ['old_nic']\n[deny]\nmodules = ['old_nix']\n"),
              "p.toml:3: warning: allow.modules: there is no module old_nic on this kernel\n"
              "  hint: new_nic, part_nic here has the aliases that it had on 6.1: list that\n"
              "p.toml:5: warning: deny.modules: there is no module old_nix on this kernel\n"
              "  hint: check the spelling with `modinfo`; it may belong to another kernel\n");
}

/// What is in the kernel already was not compared with the policy.
TEST_F(Lint, LoadedModulesThatWouldNotBeAdmittedAreNamedByTheRuleThatDeniesThem) {
    for (const char* name : {"loop", "af_key", "dm_mod", "stray"})
        index_.module(name);
    index_.module("dm_crypt").needs("dm_mod");
    loaded_ = {"loop", "af_key", "dm_crypt", "dm_mod", "stray"};
    EXPECT_EQ(
        said("[allow]\nmodules = ['loop', 'dm_crypt']\n[deny]\nmodules = ['af_key']\n"),
        "p.toml:5: warning: a loaded module would not be admitted, and stays until it is unloaded: "
        "af_key (denied)\n"
        "  hint: rmmod takes a module out, kmodctl allow admits it the next time, kmodctl explain tells "
        "why it is not\n"
        "warning: a loaded module would not be admitted, and stays until it is unloaded: stray\n"
        "  hint: rmmod takes a module out, kmodctl allow admits it the next time, kmodctl explain tells "
        "why it is not\n");
    loaded_ = {"loop"};
    EXPECT_EQ(said("[allow]\nmodules = ['loop']\n"), "");
}

TEST_F(Lint, AllowedModulesWithADeniedDependency) {
    index_.module("dm_crypt").needs("dm_mod");
    index_.module("dm_mod");
    index_.module("btrfs").soft_before("xor");
    index_.module("xor");
    EXPECT_EQ(said("[allow]\nmodules = ['dm_crypt',\n'btrfs']\n[deny]\nmodules = ['dm_mod', 'xor']\n"),
              "p.toml:3: warning: dm_crypt is allowed, but would be refused: dm_crypt would pull in a denied "
              "dependency: dm_mod, by deny.modules \"dm_mod\" (p.toml:6)\n"
              "  hint: deny always wins: allow dm_mod by removing the deny rule, or remove this entry\n"
              "p.toml:4: warning: btrfs is allowed, but would be refused: btrfs would pull in a denied "
              "dependency: xor, by deny.modules \"xor\" (p.toml:6)\n"
              "  hint: deny always wins: allow xor by removing the deny rule, or remove this entry\n");
}

TEST_F(Lint, AllowedModulesWithAnUnlistedOrMissingDependency) {
    index_.module("dm_crypt").needs("dm_mod");
    index_.module("dm_mod");
    index_.module("odd").needs("gone");
    EXPECT_EQ(said("[allow]\ndependencies = false\nmodules = ['dm_crypt']\n"),
              "p.toml:4: warning: dm_crypt is allowed, but would be refused: dm_crypt needs a dependency "
              "that is not "
              "listed: dm_mod\n"
              "  hint: add dm_mod to allow.modules, or set allow.dependencies = true\n");
    EXPECT_EQ(said("[allow]\ndependencies = false\nmodules = ['dm_crypt', 'dm_mod']\n"), "");
    EXPECT_EQ(said("[allow]\nmodules = ['odd']\n"),
              "p.toml:3: warning: odd is allowed, but would be refused: odd needs a dependency that does not "
              "exist on "
              "this kernel: gone\n"
              "  hint: run `depmod`, or install the kernel's other module packages\n");
}

TEST_F(Lint, AllowedModulesThatADeniedAliasRefuses) {
    index_.module("af_key").alias("net-pf-15");
    EXPECT_EQ(
        said("[allow]\nmodules = ['af_key']\n[deny]\naliases = ['net-pf-*']\n"),
        "p.toml:3: warning: af_key is allowed, but would be refused: af_key has an alias that is denied, by "
        "deny.aliases \"net-pf-*\" (p.toml:5)\n"
        "  hint: deny always wins: narrow the pattern in deny.aliases\n");
    index_.configured_alias("af_key", "af_key"); // the real index tells names as well
    EXPECT_EQ(said("[allow]\nmodules = ['af_key']\n[deny]\naliases = ['af_*']\n"),
              "p.toml:3: warning: af_key is allowed, but would be refused: af_key is asked for by a denied "
              "alias, by "
              "deny.aliases \"af_*\" (p.toml:5)\n"
              "  hint: deny always wins: narrow the pattern in deny.aliases\n");
}

TEST_F(Lint, PatternsThatAdmitTooMuch) {
    for (const char* name : {"a", "b", "c"}) {
        index_.module(name).alias(std::string("usb:v") + name + "*");
    }
    EXPECT_EQ(said("[allow]\naliases = ['usb:*', 'usb:va*',\n'*',\n'?*']\n"),
              "p.toml:3: warning: the pattern \"usb:*\" admits 3 modules\n"
              "  hint: narrow it, or list in deny.modules what is not needed\n"
              "p.toml:4: warning: the pattern \"*\" allows every module\n"
              "  hint: name the families that are needed, such as \"net-pf-17\" or \"usb:*\"\n"
              "p.toml:5: warning: the pattern \"?*\" allows every module\n"
              "  hint: name the families that are needed, such as \"net-pf-17\" or \"usb:*\"\n");
}

TEST_F(Lint, ATokenThatManyModulesAnswerTo) {
    for (const char* name : {"a", "b", "c"})
        index_.module(name).alias("pci:v00008086d*");
    EXPECT_EQ(said("[allow]\naliases = ['pci:v00008086d1234']\n"),
              "p.toml:3: warning: the pattern \"pci:v00008086d1234\" admits 3 modules\n"
              "  hint: narrow it, or list in deny.modules what is not needed\n");
}

TEST_F(Lint, WhatTheReaderWarnsOfIsAmongTheFindingsInTheSameWords) {
    index_.module("a");
    const std::string text = "version = 1\n[allow]\nmodules = ['a', 'a']\n[deny]\nmodules = ['a']\n";
    const auto policy = parse_policy(text, "p.toml");
    ASSERT_TRUE(policy);
    EXPECT_EQ(policy->warnings.size(), 2U);
    Diagnostics all = policy->warnings;
    merge(all, lint(policy->source, index_));
    EXPECT_EQ(all, policy->warnings);
}

class LintPins : public Lint {
  protected:
    LintPins() {
        index_.module("e1000e").needs("ptp").alias("pci:v8086*").with_content(content(0));
        index_.module("ptp").with_content(content(0));
        index_.module("other").with_content(content(0));
    }
    static std::string pin(const std::string& module) {
        return "[[pin]]\nmodule = '" + module + "'\nsha256 = '" + std::string(64, '0') + "'\n";
    }
    const std::string pins_ = pin("e1000e") + pin("ptp") + pin("other");
    const std::string other_is_useless_ =
        "p.toml:8: warning: other is pinned, but nothing allows it\n"
        "  hint: a pin narrows what is allowed: add the module to allow.modules, or remove the pin\n";
};

TEST_F(LintPins, OfModulesThatNothingAllows) {
    EXPECT_EQ(said("allow.modules = ['e1000e']\n" + pin("other")),
              "p.toml:3: warning: other is pinned, but nothing allows it\n"
              "  hint: a pin narrows what is allowed: add the module to allow.modules, or remove the pin\n");
    EXPECT_EQ(said(pins_ + "[allow]\nmodules = ['e1000e']\n"), other_is_useless_)
        << "a dependency is allowed too";
}

TEST_F(LintPins, OfModulesThatAPatternAdmitsAreUseful) {
    EXPECT_EQ(said(pins_ + "[allow]\naliases = ['pci:v8086*']\n"), other_is_useless_);
}

TEST_F(LintPins, OfModulesThatThisKernelDoesNotHave) {
    EXPECT_EQ(said(pin("gone")),
              "p.toml:2: warning: pin: there is no module gone on this kernel\n"
              "  hint: check the spelling with `modinfo`; it may belong to another kernel\n");
}

TEST_F(Lint, AModuleWithOtherContentThanItsPin) {
    index_.module("loop").with_content(content(1));
    EXPECT_NE(
        said("allow.modules = ['loop']\n[[pin]]\nmodule = 'loop'\nsha256 = '" + std::string(64, '0') + "'\n")
            .find("loop is allowed, but would be refused: loop has other content than the policy pins"),
        std::string::npos);
}

TEST_F(Lint, FindingsAreOrderedByFileAndLine) {
    core::PolicySource source;
    source.files = {"z.toml", "a.toml"};
    source.allow_modules = {{"q", {1, 1}}, {"r", {0, 9}}, {"s", {0, 2}}, {"t", {}}};
    std::vector<std::string> places;
    for (const Diagnostic& finding : lint(source, index_))
        places.push_back(finding.file + ":" + std::to_string(finding.line));
    EXPECT_EQ(places, (std::vector<std::string>{"z.toml:2", "z.toml:9", "a.toml:1", ":0"}));
}

} // namespace
} // namespace kmodguard::config
