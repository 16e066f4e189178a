// SPDX-License-Identifier: AGPL-3.0-only
//
// The editor against many files that nobody would think of writing by hand: random styles, comments and
// edits, from a fixed seed. What must hold of each: the result says what was asked for, and every line that
// has no part in the change is still there, in its order.
#include "config/policy_edit.hpp"
#include "random.hpp"
#include "support.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <sstream>

namespace kmodguard::config {
namespace {

using namespace test;
using kmodguard::test::Random;

constexpr unsigned rounds = 1000;

/// Writes one policy in a random style, and notes the lines that no edit may touch.
class Author {
  public:
    explicit Author(Random& random) : random_(random), newline_(random.chance(25) ? "\r\n" : "\n") {}

    std::string write() {
        for (const List list : all_lists)
            if (random_.chance(75)) lists_[list] = entries(list);
        line(random_.chance(50) ? "version = 1" : "version=1 # v");
        filler();
        if (random_.chance(50)) line("kernel_release = '6.1 # [allow]'");
        write_tables(random_.below(3));
        if (random_.chance(30))
            line("[[pin]]"), line("module = 'x'"), line("sha256 = '" + std::string(64, '1') + "'");
        filler();
        if (random_.chance(20)) text_.erase(text_.size() - newline_.size());
        return text_;
    }

    const std::map<List, std::vector<std::string>>& lists() const { return lists_; }
    /// The lines that survive `edits`, in order: every comment line, and the entries that have a line and a
    /// comma of their own and are not removed.
    std::vector<std::string> lines_surviving(const std::vector<Edit>& edits) const {
        std::vector<std::string> lines;
        for (const FixedLine& fixed : fixed_)
            if (fixed.entry.empty() || !is_removed(fixed, edits)) lines.push_back(fixed.text);
        return lines;
    }

  private:
    struct FixedLine {
        std::string text;
        List list = List::allow_modules;
        std::string entry = {}; ///< empty for a comment
    };

    static bool is_removed(const FixedLine& fixed, const std::vector<Edit>& edits) {
        const Edit removal = RemoveEntry{fixed.list, fixed.entry};
        return std::ranges::find(edits, removal) != edits.end();
    }

    std::vector<std::string> entries(List list) {
        std::set<std::string> chosen;
        for (std::size_t count = random_.below(6); count > 0; --count)
            chosen.insert(std::string(list == List::allow_modules ? "mod_" : "x_")
                          + static_cast<char>('a' + random_.below(9)));
        std::vector<std::string> result(chosen.begin(), chosen.end());
        if (random_.chance(50)) std::ranges::reverse(result);
        return result;
    }

    void line(const std::string& content) { text_ += content + newline_; }

    void comment(const std::string& content) {
        fixed_.push_back({content});
        line(content);
    }

    void filler() {
        static const std::vector<std::string> comments = {"# plain", "   # [deny]", "#modules = ['x_a']",
                                                          "# ] ' \" \"\"\"",
                                                          "\t# allow.modules = [ \xC3\xA4"};
        while (random_.chance(40)) {
            if (random_.chance(40)) {
                line("");
            } else {
                comment(random_.one_of(comments) + " " + std::to_string(fixed_.size()));
            }
        }
    }

    void write_tables(std::size_t style) {
        std::vector<std::string> order = {"allow", "deny"};
        if (random_.chance(50)) std::ranges::reverse(order);
        if (style != 0) // inline and dotted ones belong to the root
            for (const std::string& table : order)
                style == 1 ? write_inline(table) : write_dotted(table);
        else
            for (const std::string& table : order)
                write_headed(table);
    }

    std::vector<List> lists_of(const std::string& table) {
        std::vector<List> found;
        for (const auto& [list, entries] : lists_)
            if (table_of(list) == table) found.push_back(list);
        if (random_.chance(50)) std::ranges::reverse(found);
        return found;
    }

    void write_headed(const std::string& table) {
        const auto lists = lists_of(table);
        if (lists.empty() && random_.chance(50)) return;
        line(random_.one_of<std::string>(
            {"[" + table + "]", "[ \"" + table + "\" ] # [x]", "  ['" + table + "']"}));
        filler();
        for (const List list : lists) {
            text_ += random_.one_of<std::string>({"", "  ", "\t"}) + std::string(key_of(list)) + " = ";
            write_array(list, true);
            text_ += random_.one_of<std::string>({"", "  # ] behind"}) + newline_;
            filler();
        }
    }

    void write_dotted(const std::string& table) {
        for (const List list : lists_of(table)) {
            text_ += table + random_.one_of<std::string>({".", " . "}) + std::string(key_of(list)) + "=";
            write_array(list, true);
            text_ += newline_;
            filler();
        }
    }

    void write_inline(const std::string& table) {
        text_ += table + " = {";
        const auto lists = lists_of(table);
        for (std::size_t i = 0; i < lists.size(); ++i) {
            text_ += (i > 0 ? ", " : " ") + std::string(key_of(lists[i])) + " = ";
            write_array(lists[i], random_.chance(30));
        }
        text_ += " } # end" + newline_;
        filler();
    }

    std::string spelled(List list, const std::string& entry) {
        std::string text = entry;
        if (holds_modules(list) && random_.chance(30)) std::ranges::replace(text, '_', '-');
        if (holds_modules(list) && random_.chance(10)) text += ".ko";
        if (random_.chance(5)) text.replace(0, 1, entry[0] == 'm' ? "\\u006D" : "\\u0078");
        if (text[0] == '\\') return '"' + text + '"';
        return random_.one_of<std::string>({"\"" + text + "\"", "'" + text + "'", "'''" + text + "'''",
                                            "\"\"\"" + text + "\"\"\"", "'''" + newline_ + text + "'''"});
    }

    void write_array(List list, bool may_break) {
        const auto& entries = lists_.at(list);
        const std::size_t style = may_break ? random_.below(4) : 3;
        if (style == 3) return write_array_on_one_line(list);
        const std::string indentation = random_.one_of<std::string>({"  ", "    ", "\t", ""});
        text_ += "[" + (random_.chance(20) ? " # open [" : std::string{}) + newline_;
        const bool comma_first = style == 0;
        bool shares_line = false;
        for (std::size_t i = 0; i < entries.size(); ++i) {
            if (!shares_line && random_.chance(20)) comment(indentation + "# about '" + entries[i] + "', ]");
            const bool comma = !comma_first && (i + 1 < entries.size() || style == 1);
            std::string content =
                indentation + (comma_first && i > 0 ? ", " : "") + spelled(list, entries[i]);
            if (comma) content += random_.one_of<std::string>({",", " ,"});
            const bool alone = !shares_line;
            shares_line = comma && i + 1 < entries.size() && random_.chance(15);
            if (!shares_line) content += random_.one_of<std::string>({"", " # why, ] '"});
            text_ += content + (shares_line ? "" : newline_);
            if (alone && comma && !shares_line && content.find('\n') == std::string::npos)
                fixed_.push_back({content, list, entries[i]});
        }
        if (random_.chance(20)) comment(indentation + "# last");
        text_ += random_.one_of<std::string>({"]", "  ]"});
    }

    void write_array_on_one_line(List list) {
        const std::string padding = random_.one_of<std::string>({"", " "});
        const std::string comma = random_.one_of<std::string>({", ", ",", " , "});
        const auto& entries = lists_.at(list);
        text_ += "[" + padding;
        for (std::size_t i = 0; i < entries.size(); ++i)
            text_ += (i > 0 ? comma : "") + spelled(list, entries[i]);
        if (!entries.empty() && random_.chance(20)) text_ += ",";
        text_ += padding + "]";
    }

    Random& random_;
    std::string newline_;
    std::string text_;
    std::map<List, std::vector<std::string>> lists_;
    std::vector<FixedLine> fixed_;
};

std::vector<std::string> lines_of(const std::string& text) {
    std::vector<std::string> lines;
    std::istringstream stream(text);
    for (std::string line; std::getline(stream, line);)
        lines.push_back(line);
    return lines;
}

/// Whether `lines` holds all of `wanted`, in that order.
bool holds_in_order(const std::vector<std::string>& lines, const std::vector<std::string>& wanted) {
    auto at = lines.begin();
    for (const std::string& line : wanted) {
        at = std::find_if(at, lines.end(), [&line](const std::string& other) {
            return other == line || other == line + "\r";
        });
        if (at == lines.end()) return false;
        ++at;
    }
    return true;
}

std::vector<Edit> random_edits(Random& random) {
    std::vector<Edit> edits;
    for (std::size_t count = 1 + random.below(4); count > 0; --count) {
        const List list = all_lists[random.below(all_lists.size())];
        const std::string entry = std::string(list == List::allow_modules ? "mod_" : "x_")
                                  + static_cast<char>('a' + random.below(12));
        if (random.chance(50))
            edits.emplace_back(AddEntry{list, entry});
        else
            edits.emplace_back(RemoveEntry{list, entry});
    }
    return edits;
}

/// The lists as they should be: an entry that is touched for the last time by an addition is there once.
std::map<List, std::set<std::string>> expected_lists(const Author& author, const std::vector<Edit>& edits) {
    std::map<List, std::set<std::string>> expected;
    for (const auto& [list, entries] : author.lists())
        expected[list].insert(entries.begin(), entries.end());
    for (const Edit& edit : edits) {
        if (const auto* added = std::get_if<AddEntry>(&edit)) expected[added->list].insert(added->text);
        if (const auto* removed = std::get_if<RemoveEntry>(&edit))
            expected[removed->list].erase(removed->text);
    }
    return expected;
}

TEST(PolicyEditProperty, EveryStyleComesOutAsAskedWithAllElseAlive) {
    Random random(0, rounds);
    while (random.next_seed()) {
        Author author(random);
        const std::string before = author.write();
        const std::vector<Edit> edits = random_edits(random);
        const auto after = edit_policy(before, edits);
        ASSERT_TRUE(after) << after.error().what << "\n" << before;
        const auto policy = parse_policy(*after, "p.toml");
        ASSERT_TRUE(policy) << *after;
        auto expected = expected_lists(author, edits);
        for (const List list : all_lists) {
            const auto found = texts(entries_of(policy->source, list));
            EXPECT_EQ(std::set<std::string>(found.begin(), found.end()), expected[list]);
            EXPECT_EQ(found.size(), expected[list].size());
        }
        const auto lines = lines_of(*after);
        EXPECT_TRUE(holds_in_order(lines, author.lines_surviving(edits))) << before << "\n->\n" << *after;
        if (before.find("\r\n") != std::string::npos) {
            EXPECT_EQ(std::ranges::count(*after, '\r'), std::ranges::count(*after, '\n'));
        }
    }
}

TEST(PolicyEditProperty, TakingBackAnAdditionGivesTheFileBack) {
    Random random(0, rounds);
    while (random.next_seed()) {
        Author author(random);
        const std::string before = author.write();
        for (const auto& [list, entries] : author.lists()) {
            if (entries.empty()) continue;
            const std::string entry = list == List::allow_modules ? "mod_z" : "x_z";
            const auto added = edit_policy(before, std::vector<Edit>{AddEntry{list, entry}});
            ASSERT_TRUE(added);
            EXPECT_NE(*added, before);
            const auto taken_back = edit_policy(*added, std::vector<Edit>{RemoveEntry{list, entry}});
            ASSERT_TRUE(taken_back);
            // A comma that the addition needed behind the last entry may stay.
            const auto commas = [](const std::string& text) { return std::ranges::count(text, ','); };
            EXPECT_GE(commas(before) + 1, commas(*taken_back));
            std::string without = *taken_back;
            std::string original = before;
            std::erase(without, ',');
            std::erase(original, ',');
            EXPECT_EQ(without, original) << *added;
        }
    }
}

} // namespace
} // namespace kmodguard::config
