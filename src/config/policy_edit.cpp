// SPDX-License-Identifier: AGPL-3.0-only
#include "config/policy_edit.hpp"

#include "config/array_edit.hpp"
#include "config/policy_file.hpp"
#include "config/policy_schema.hpp"
#include "config/toml_reader.hpp"
#include "config/toml_scan.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>

namespace kmodguard::config {
namespace {

using core::PolicySource;

/// What is to become of one list, by comparison key.
struct ListChange {
    std::set<std::string> removed;
    std::vector<std::string> added; ///< in canonical spelling, none of them in the list before
};

struct Change {
    std::map<List, ListChange> lists;
    std::optional<core::Mode> mode;
};

std::set<std::string> keys_of(const PolicySource& source, List list) {
    std::set<std::string> keys;
    for (const auto& entry : entries_of(source, list))
        keys.insert(comparison_key(list, entry.text));
    return keys;
}

void add(ListChange& change, const std::set<std::string>& present, List list, std::string entry) {
    const std::string key = comparison_key(list, entry);
    change.removed.erase(key);
    const auto same = [&](const std::string& other) { return comparison_key(list, other) == key; };
    if (!present.contains(key) && std::ranges::none_of(change.added, same))
        change.added.push_back(std::move(entry));
}

void remove(ListChange& change, const std::set<std::string>& present, List list, const std::string& text) {
    const std::string key = comparison_key(list, text);
    std::erase_if(change.added, [&](const std::string& other) { return comparison_key(list, other) == key; });
    if (present.contains(key)) change.removed.insert(key);
}

/// What `edits` come to for a file that says `before`.
sys::Result<Change> net_change(const PolicySource& before, std::span<const Edit> edits) {
    Change change;
    std::map<List, std::set<std::string>> present;
    for (const List list : all_lists)
        present[list] = keys_of(before, list);
    for (const Edit& edit : edits) {
        if (const auto* set = std::get_if<SetMode>(&edit)) {
            change.mode = set->mode;
        } else if (const auto* removal = std::get_if<RemoveEntry>(&edit)) {
            remove(change.lists[removal->list], present[removal->list], removal->list, removal->text);
        } else {
            const auto& addition = std::get<AddEntry>(edit);
            auto entry = TRY(check_entry(addition.list, addition.text));
            add(change.lists[addition.list], present[addition.list], addition.list, std::move(entry));
        }
    }
    return change;
}

PolicySource expected_after(PolicySource source, const Change& change) {
    if (change.mode) source.mode = *change.mode;
    for (const auto& [list, list_change] : change.lists) {
        auto& entries = entries_of(source, list);
        std::erase_if(entries, [&](const PolicySource::Entry& entry) {
            return list_change.removed.contains(comparison_key(list, entry.text));
        });
        for (const std::string& entry : list_change.added)
            entries.push_back({entry, {}});
    }
    return source;
}

bool same_meaning(const PolicySource& a, const PolicySource& b) {
    const auto same_list = [&](List list) {
        return std::ranges::equal(entries_of(a, list), entries_of(b, list), {}, &PolicySource::Entry::text,
                                  &PolicySource::Entry::text);
    };
    const auto same_pin = [](const PolicySource::PinEntry& x, const PolicySource::PinEntry& y) {
        return x.module == y.module && x.sha256 == y.sha256;
    };
    return a.mode == b.mode && a.answer == b.answer && a.dependencies == b.dependencies && a.quiet == b.quiet
           && a.unload_denied == b.unload_denied && a.user_namespaces == b.user_namespaces
           && a.points == b.points && a.generated_at == b.generated_at && a.kernel_release == b.kernel_release
           && std::ranges::all_of(all_lists, same_list) && std::ranges::equal(a.pins, b.pins, same_pin);
}

/// Inserts `line` as a line of its own behind that of `at`.
void insert_line_behind(std::string& text, std::size_t at, std::string_view line) {
    const std::string newline(newline_of(text));
    const std::size_t end = line_end(text, at);
    if (end == text.size())
        text += fmt::format("{}{}{}", newline, line, newline);
    else
        text.insert(end + 1, fmt::format("{}{}", line, newline));
}

/// Behind the last byte of the member's value; `nowhere` if its place is unknown.
std::size_t end_of(std::string_view text, const Member& member) {
    const std::size_t begin = offset_of(text, member.value.at);
    return begin == nowhere ? nowhere : skip_value(text, begin);
}

/// A whole new array: one entry a line, or all on one.
std::string new_array(std::span<const std::string> entries, std::string_view indentation, bool multi_line,
                      std::string_view newline) {
    std::string array = "[";
    for (std::size_t i = 0; i < entries.size(); ++i) {
        if (multi_line)
            array += fmt::format("{}{}    {},", newline, indentation, toml_string(entries[i]));
        else
            array += (i > 0 ? ", " : "") + toml_string(entries[i]);
    }
    return array + (multi_line ? fmt::format("{}{}]", newline, indentation) : "]");
}

/// New lists are written over several lines unless all that are there stand on one.
bool prefers_many_lines(std::string_view text, const Node& root) {
    bool any = false;
    for (const List list : all_lists) {
        const Member* table = root.find(table_of(list));
        const Member* array = table != nullptr ? table->value.find(key_of(list)) : nullptr;
        const std::size_t at = array != nullptr ? offset_of(text, array->value.at) : nowhere;
        const auto layout = at != nowhere ? scan_array(text, at) : std::nullopt;
        if (!layout || layout->elements.empty()) continue;
        if (layout->multi_line) return true;
        any = true;
    }
    return !any;
}

void append_table(std::string& text, List list, std::span<const std::string> entries, bool multi_line) {
    const std::string newline(newline_of(text));
    if (!text.empty() && !text.ends_with('\n')) text += newline;
    if (!text.empty()) text += newline;
    text += fmt::format("[{}]{}{} = {}{}", table_of(list), newline, key_of(list),
                        new_array(entries, "", multi_line, newline), newline);
}

/// `allow = { modules = [...] }`: behind its last member, or as the first.
bool add_to_inline_table(std::string& text, const Node& table, std::size_t at, List list,
                         std::span<const std::string> entries) {
    const std::string member = fmt::format("{} = {}", key_of(list), new_array(entries, "", false, ""));
    if (table.members.empty()) {
        text.insert(at + 1, skip_spaces(text, at + 1) == at + 1 ? fmt::format(" {} ", member) : " " + member);
        return true;
    }
    const std::size_t end = end_of(text, std::ranges::max(table.members, {}, &Member::at));
    if (end == nowhere) return false;
    text.insert(end, ", " + member);
    return true;
}

/// Writes a list that the file does not have yet.
bool add_list(std::string& text, const Node& root, List list, std::span<const std::string> entries) {
    const bool multi_line = prefers_many_lines(text, root);
    const Member* table = root.find(table_of(list));
    if (table == nullptr) {
        append_table(text, list, entries, multi_line);
        return true;
    }
    const std::size_t at = offset_of(text, table->value.at);
    if (at == nowhere) return false;
    if (text[at] == '{') return add_to_inline_table(text, table->value, at, list, entries);
    const bool headed = text[at] == '[';
    const Node& value = table->value;
    const Member* last = value.members.empty() ? nullptr : &value.members.back();
    const std::size_t behind = last != nullptr ? end_of(text, *last) : at;
    if (behind == nowhere || (last == nullptr && !headed)) return false;
    const std::size_t key = last != nullptr ? offset_of(text, last->at) : at;
    const std::string indentation(indentation_at(text, key == nowhere ? at : key));
    const std::string name = headed ? std::string(key_of(list)) : path_of(list);
    insert_line_behind(text, behind,
                       fmt::format("{}{} = {}", indentation, name,
                                   new_array(entries, indentation, multi_line, newline_of(text))));
    return true;
}

bool change_list(std::string& text, List list, const ListChange& change) {
    const auto root = read_toml(text, {});
    if (!root) return false;
    const Member* table = root->find(table_of(list));
    const Member* array = table != nullptr ? table->value.find(key_of(list)) : nullptr;
    if (array == nullptr) return change.added.empty() || add_list(text, *root, list, change.added);
    const std::size_t at = offset_of(text, array->value.at);
    const auto& items = array->value.items;
    for (std::size_t i = items.size(); i-- > 0;)
        if (change.removed.contains(comparison_key(list, items[i].text)) && !remove_element(text, at, i))
            return false;
    return add_elements(text, at, change.added);
}

bool change_mode(std::string& text, core::Mode mode) {
    const auto root = read_toml(text, {});
    if (!root) return false;
    if (const Member* member = root->find("mode")) {
        if (core::mode_from(member->value.text) == mode) return true;
        const std::size_t at = offset_of(text, member->value.at);
        if (at == nowhere) return false;
        text.replace(at, skip_value(text, at) - at, toml_string(core::to_string(mode), text[at] == '\''));
        return true;
    }
    const Member* version = root->find("version");
    const std::size_t behind = version != nullptr ? end_of(text, *version) : nowhere;
    if (behind == nowhere) return false;
    insert_line_behind(text, behind, fmt::format("mode = {}", toml_string(core::to_string(mode))));
    return true;
}

/// A text without any key becomes the smallest policy there is; its comments stay.
void begin_if_empty(std::string& text) {
    const auto root = read_toml(text, {});
    if (!root || !root->members.empty()) return;
    const std::string newline(newline_of(text));
    if (!text.empty() && !text.ends_with('\n')) text += newline;
    text += fmt::format("version = {}{}", policy_version, newline);
}

bool apply(std::string& text, const Change& change) {
    if (change.mode && !change_mode(text, *change.mode)) return false;
    return std::ranges::all_of(change.lists, [&text](const auto& entry) {
        const auto& [list, list_change] = entry;
        return (list_change.removed.empty() && list_change.added.empty())
               || change_list(text, list, list_change);
    });
}

} // namespace

std::string describe(const Edit& edit) {
    if (const auto* added = std::get_if<AddEntry>(&edit))
        return fmt::format("add {} to {}", toml_string(added->text), path_of(added->list));
    if (const auto* removed = std::get_if<RemoveEntry>(&edit))
        return fmt::format("remove {} from {}", toml_string(removed->text), path_of(removed->list));
    return fmt::format("set mode to {}", core::to_string(std::get<SetMode>(edit).mode));
}

sys::Result<std::string> edit_policy(std::string_view text, std::span<const Edit> edits) {
    std::string edited(text);
    begin_if_empty(edited);
    const auto before = parse_policy(edited, "the policy");
    if (!before) return std::unexpected(to_error(before.error()));
    const auto change = TRY(net_change(before->source, edits));
    const PolicySource expected = expected_after(before->source, change);
    if (same_meaning(expected, before->source)) return std::string(text);

    const bool done = apply(edited, change);
    const auto after = parse_policy(edited, "the policy");
    if (!done || !after || !same_meaning(after->source, expected))
        return sys::failure(sys::ErrorKind::failed,
                            "this policy is written in a way that cannot be changed safely",
                            "edit the file by hand; nothing was written");
    return edited;
}

} // namespace kmodguard::config
