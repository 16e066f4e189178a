// SPDX-License-Identifier: AGPL-3.0-only
#include "config/diagnostic.hpp"
#include "config/document.hpp"
#include "config/policy_schema.hpp"
#include "support.hpp"

#include <gtest/gtest.h>

#include <algorithm>

namespace kmodguard::config {
namespace {

using namespace test;

core::PolicySource full() {
    core::PolicySource source;
    source.mode = core::Mode::audit;
    source.answer = core::CallerAnswer::pretend;
    source.dependencies = false;
    source.quiet = true;
    source.user_namespaces = true;
    source.unload_denied = true;
    source.points = {core::Point::kernel, core::Point::autoload};
    source.generated_at = "2026-11-21T00:00:00Z";
    source.kernel_release = "6.1.0-56-amd64";
    source.allow_modules = {{"loop", {}}, {"dm_mod", {}}, {"loop", {}}};
    source.allow_aliases = {{"x\"\\'\xC3\xA4*", {}}, {"net-pf-17", {}}};
    source.deny_modules = {{"dccp", {}}};
    source.deny_aliases = {{"net-pf-21", {}}};
    source.pins = {{"loop", *core::sha256_from(std::string(64, 'b')), {}},
                   {"loop", *core::sha256_from(std::string(64, 'a')), {}}};
    return source;
}

core::PolicySource reread(const core::PolicySource& source) {
    const auto policy = parse_policy(render_policy(source), "p.toml");
    EXPECT_TRUE(policy) << render(policy.error()) << render_policy(source);
    if (!policy) return {};
    EXPECT_EQ(render(policy->warnings), "");
    return policy->source;
}

TEST(Baseline, ParsesBackToTheSamePolicy) {
    const auto source = reread(full());
    EXPECT_EQ(source.mode, core::Mode::audit);
    EXPECT_EQ(source.answer, core::CallerAnswer::pretend);
    EXPECT_FALSE(source.dependencies);
    EXPECT_TRUE(source.user_namespaces);
    EXPECT_TRUE(source.quiet);
    EXPECT_TRUE(source.unload_denied);
    EXPECT_EQ(source.points, (std::vector{core::Point::kernel, core::Point::autoload}));
    EXPECT_EQ(source.generated_at, "2026-11-21T00:00:00Z");
    EXPECT_EQ(source.kernel_release, "6.1.0-56-amd64");
    EXPECT_EQ(texts(source.allow_modules), (Texts{"dm_mod", "loop"})) << "sorted, each once";
    EXPECT_EQ(texts(source.allow_aliases), (Texts{"net-pf-17", "x\"\\'\xC3\xA4*"}));
    EXPECT_EQ(texts(source.deny_modules), Texts{"dccp"});
    EXPECT_EQ(texts(source.deny_aliases), Texts{"net-pf-21"});
    ASSERT_EQ(source.pins.size(), 2U);
    EXPECT_EQ(core::to_hex(source.pins[0].sha256), std::string(64, 'a'));
    EXPECT_EQ(core::to_hex(source.pins[1].sha256), std::string(64, 'b'));
}

/// Whether the document has the key `path`, "allow.modules"; of tables in an array the first has it.
bool has_key(const Node& document, std::string_view path) {
    const Node* node = &document;
    while (!path.empty()) {
        const std::string_view name = path.substr(0, path.find('.'));
        path.remove_prefix(std::min(name.size() + 1, path.size()));
        if (node->kind == Node::Kind::array && !node->items.empty()) node = &node->items.front();
        const Member* member = node->find(name);
        if (member == nullptr) return false;
        node = &member->value;
    }
    return true;
}

TEST(Baseline, HasEveryKeyThatIsRead) {
    const auto document = read_toml(render_policy(full()), "p.toml");
    ASSERT_TRUE(document);
    for (const std::string& key : policy_keys())
        EXPECT_TRUE(has_key(*document, key)) << key;
    EXPECT_FALSE(has_key(*document, "pin.md5"));
}

TEST(Baseline, EveryKeyIsInTheManual) {
    const std::string manual =
        content_of(std::filesystem::path(FIXTURES) / "../../man/kmodguard-policy.5.scd");
    for (const std::string& key : policy_keys()) {
        const std::string name = key.substr(key.rfind('.') + 1);
        EXPECT_TRUE(manual.contains("*" + name + "*") || manual.contains("[" + name + "]")) << key;
    }
}

TEST(Baseline, EveryKeyCountsForWhatAPolicyMeans) {
    const core::PolicySource all = full();
    std::vector<core::PolicySource> changed(15, all);
    changed[0].mode = core::Mode::enforce;
    changed[1].answer = core::CallerAnswer::refuse;
    changed[2].dependencies = true;
    changed[3].quiet = false;
    changed[4].user_namespaces = false;
    changed[5].unload_denied = false;
    std::ranges::reverse(changed[6].points);
    changed[7].generated_at = "2026-11-21T00:00:01Z";
    changed[8].kernel_release.clear();
    std::ranges::reverse(changed[9].allow_aliases);
    changed[10].allow_modules.pop_back(); // the second of two
    changed[11].deny_modules.clear();
    changed[12].deny_aliases.front().text = "net-pf-22";
    std::ranges::reverse(changed[13].pins);
    changed[14].pins.front().module = "loop2";
    for (const core::PolicySource& other : changed)
        EXPECT_FALSE(same_meaning(all, other)) << render_policy(other);
    EXPECT_TRUE(same_meaning(all, full()));
}

TEST(Baseline, AnEmptyPolicyParsesBackToo) {
    const auto source = reread({});
    EXPECT_EQ(source.mode, core::Mode::enforce);
    EXPECT_TRUE(source.dependencies);
    EXPECT_FALSE(source.user_namespaces);
    EXPECT_FALSE(source.quiet);
    EXPECT_FALSE(source.unload_denied);
    EXPECT_TRUE(source.points.empty());
    EXPECT_TRUE(source.generated_at.empty());
    EXPECT_TRUE(source.allow_modules.empty());
}

TEST(Baseline, LooksAsThePeopleWhoKeepItExpect) {
    const std::string text =
        render_policy(full(), std::vector<std::string>{"Baseline of host x.", "Second line."});
    EXPECT_TRUE(
        text.starts_with("# Baseline of host x.\n# Second line.\n\nversion = 1\n"
                         "generated_at = 2026-11-21T00:00:00Z\nkernel_release = \"6.1.0-56-amd64\"\n"))
        << text;
    EXPECT_NE(text.find("\nmodules = [\n    \"dm_mod\",\n    \"loop\",\n]\n"), std::string::npos) << text;
    EXPECT_NE(text.find("\n[[pin]]\nmodule = \"loop\"\n"), std::string::npos) << text;
}

TEST(Baseline, WhatIsRareStandsThereOnlyWhereItIsSet) {
    const std::string text = render_policy({});
    EXPECT_EQ(text.find("quiet"), std::string::npos) << text;
    EXPECT_EQ(text.find("unload"), std::string::npos) << text;
}

TEST(Baseline, ADateThatTomlCouldNotReadIsWrittenAsAString) {
    for (const char* text :
         {"2026-13-21T00:00:00Z", "2026-02-30T00:00:00Z", "2026-11-21T24:00:00Z", "2026-11-21T00:00:00",
          "2026-11-21T00:00:00.5Z", "2026-1-21T00:00:00Z", "yesterday", "2026-11-21T00:00:00Z\"x"}) {
        core::PolicySource source;
        source.generated_at = text;
        EXPECT_EQ(reread(source).generated_at, text);
    }
}

TEST(Baseline, AHeaderCannotBreakOutOfItsComment) {
    const std::string text = render_policy({}, std::vector<std::string>{"a\nmode = 'audit'\r\x07", ""});
    EXPECT_TRUE(text.starts_with("# a\n# mode = 'audit'\\x0d\\x07\n#\n\nversion = 1\n")) << text;
    EXPECT_TRUE(parse_policy(text, "p.toml"));
}

} // namespace
} // namespace kmodguard::config
