// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows that depmod's indexes are read whole or not at all, in depmod's order.
#include "module_tree.hpp"
#include "modules/depmod_index.hpp"
#include "random.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <sstream>
#include <utility>

namespace kmodguard::modules {
namespace {

using test::ModuleTree;

class DepmodIndexTest : public ::testing::Test {
  protected:
    DepmodIndexTest() {
        add_usual_modules(tree);
        test::FakeImage image{.name = "kmt_many"};
        for (int number = 0; number < 300; ++number)
            image.aliases.push_back("kmt-many:v" + std::to_string(number * 7) + "d*[0-9]?x");
        tree.add(image).depmod();
    }
    [[nodiscard]] std::string file(const std::string& name) const {
        return "lib/modules/" + ModuleTree::release + "/" + name;
    }

    ModuleTree tree;
};

/// "alias PATTERN MODULE", as depmod writes it beside the index.
TEST_F(DepmodIndexTest, HasWhatDepmodWritesAsText) {
    const auto entries = read_depmod_index(tree / file("modules.alias.bin"));
    ASSERT_TRUE(entries) << entries.error().what;
    std::multiset<std::pair<std::string, std::string>> found;
    for (const DepmodEntry& entry : *entries)
        found.emplace(entry.key, entry.value);
    std::multiset<std::pair<std::string, std::string>> expected;
    std::istringstream text(tree.read(file("modules.alias")));
    for (std::string line; std::getline(text, line);) {
        std::istringstream words(line);
        std::string alias;
        std::string pattern;
        std::string module;
        if (!(words >> alias >> pattern >> module) || alias != "alias") continue;
        for (std::size_t i = 0; i < pattern.size(); ++i) {
            if (pattern[i] == '[') i = pattern.find(']', i);
            if (pattern[i] == '-') pattern[i] = '_';
        }
        expected.emplace(pattern, module);
    }
    EXPECT_EQ(found, expected);
    EXPECT_GT(found.size(), 300U);
}

TEST_F(DepmodIndexTest, OneThatIsCutShortIsNotRead) {
    const std::string whole = tree.read(file("modules.alias.bin"));
    ASSERT_TRUE(parse_depmod_index(whole, "it"));
    // The root is at the end.
    for (std::size_t length = 0; length < whole.size(); length += length < 64 ? 1 : 97)
        EXPECT_FALSE(parse_depmod_index(std::string_view(whole).substr(0, length), "it")) << length;
    EXPECT_EQ(parse_depmod_index("no index", "it").error().what, "it is not an index of depmod's");
    EXPECT_EQ(parse_depmod_index(whole.substr(0, 64), "it").error().what, "it is damaged");
}

/// In a circle, or with one node below many, a tree has no end.
TEST_F(DepmodIndexTest, OneThatIsDamagedEnds) {
    const std::string whole = tree.read(file("modules.alias.bin"));
    test::Random random(7, 2000);
    std::size_t read = 0;
    while (random.next_round()) {
        std::string damaged = whole;
        for (std::size_t i = random.below(8); i < 8; ++i)
            damaged[12 + random.below(damaged.size() - 12)] = static_cast<char>(random.below(256));
        if (const auto entries = parse_depmod_index(damaged, "it")) {
            ++read;
            EXPECT_LE(entries->size(), whole.size());
        }
    }
    EXPECT_GT(read, 0U);
    std::string circle(whole, 0, 8);
    circle += std::string("\x20\x00\x00\x0c", 4);   // the root: one with children, at 12
    circle += std::string("aa\x20\x00\x00\x0c", 6); // of which one is itself
    EXPECT_EQ(parse_depmod_index(circle, "it").error().what, "it is damaged");
}

} // namespace
} // namespace kmodguard::modules
