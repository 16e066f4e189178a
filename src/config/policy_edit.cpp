// SPDX-License-Identifier: AGPL-3.0-only
#include "config/policy_edit.hpp"

#include "config/document.hpp"
#include "config/policy_file.hpp"
#include "config/policy_schema.hpp"
#include "config/toml_edit.hpp"
#include "config/toml_scan.hpp"
#include "sys/file.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <set>
#include <system_error>
#include <utility>

namespace kmodguard::config {
namespace {

namespace fs = std::filesystem;
using core::PolicySource;

bool has_entry(const PolicySource& source, List list, std::string_view text) {
    const std::string key = comparison_key(list, text);
    return std::ranges::any_of(entries_of(source, list), [&](const PolicySource::Entry& entry) {
        return comparison_key(list, entry.text) == key;
    });
}

/// What is to become of one list.
struct ListChange {
    std::set<std::string> removed;  ///< by comparison key
    std::vector<std::string> added; ///< in canonical spelling, none of them in the list before
};

/// What `edits` come to for a list of a file with `before` in it.
sys::Result<ListChange> change_of(List list, const PolicySource& before, std::span<const Edit> edits) {
    ListChange change;
    for (const Edit& edit : edits) {
        const auto is_same = [list](const std::string& key) {
            return [list, &key](const std::string& entry) { return comparison_key(list, entry) == key; };
        };
        if (const auto* removal = std::get_if<RemoveEntry>(&edit);
            removal != nullptr && removal->list == list) {
            const std::string key = comparison_key(list, removal->text);
            std::erase_if(change.added, is_same(key));
            if (has_entry(before, list, removal->text)) change.removed.insert(key);
        }
        if (const auto* addition = std::get_if<AddEntry>(&edit);
            addition != nullptr && addition->list == list) {
            std::string entry = TRY(check_entry(list, addition->text));
            const std::string key = comparison_key(list, entry);
            change.removed.erase(key);
            if (!has_entry(before, list, entry) && std::ranges::none_of(change.added, is_same(key)))
                change.added.push_back(std::move(entry));
        }
    }
    return change;
}

const Member* find_list(const Node& root, List list) {
    const Member* table = root.find(table_of(list));
    return table != nullptr ? table->value.find(key_of(list)) : nullptr;
}

/// Behind the last byte of the member's value; `nowhere` if its place is unknown.
std::size_t end_of(std::string_view text, const Member& member) {
    const std::size_t begin = offset_of(text, member.value.at);
    return begin == nowhere ? nowhere : skip_value(text, begin);
}

/// New lists are written over several lines unless all that are there are on one.
bool prefers_many_lines(std::string_view text, const Node& root) {
    bool any = false;
    for (const List list : all_lists) {
        const Member* array = find_list(root, list);
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
                        toml_array(entries, multi_line, "", newline), newline);
}

/// `allow = { modules = [...] }`: behind its last member, or as the first.
bool add_to_inline_table(std::string& text, const Node& table, std::size_t at, List list,
                         std::span<const std::string> entries) {
    const std::string member = fmt::format("{} = {}", key_of(list), toml_array(entries, false));
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
    const Member* last = table->value.members.empty() ? nullptr : &table->value.members.back();
    const std::size_t behind = last != nullptr ? end_of(text, *last) : at;
    if (behind == nowhere || (last == nullptr && !headed)) return false;
    const std::size_t key = last != nullptr ? offset_of(text, last->at) : at;
    const std::string indentation(indentation_at(text, key == nowhere ? at : key));
    const std::string name = headed ? std::string(key_of(list)) : path_of(list);
    insert_line_behind(text, behind,
                       fmt::format("{}{} = {}", indentation, name,
                                   toml_array(entries, multi_line, indentation, newline_of(text))));
    return true;
}

bool change_list(std::string& text, List list, const ListChange& change) {
    if (change.removed.empty() && change.added.empty()) return true;
    const auto root = read_toml(text, {});
    if (!root) return false;
    const Member* array = find_list(*root, list);
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

/// One of the files that edits belong to.
struct PolicyText {
    fs::path path;
    std::string text;
    PolicySource source = {};
    bool sets_mode = false;
    std::vector<Edit> edits = {};
};

sys::Result<PolicyText> open_policy(const fs::path& path) {
    if (form_of(path) == Form::yaml)
        return sys::failure(sys::ErrorKind::failed,
                            fmt::format("{} is YAML, and only TOML policies are changed", path.string()),
                            "`kmodctl convert` makes a TOML policy of it; or change the file by hand");
    auto text = sys::read_file(path, PolicyLimits{}.file_bytes);
    if (!text) {
        if (text.error().kind == sys::ErrorKind::not_found && text.error().hint.empty())
            text.error().hint = "run `kmodctl init` to write a baseline";
        return std::unexpected(std::move(text.error()));
    }
    PolicyText file{.path = path, .text = std::move(*text)};
    const auto document = read_toml(file.text, path.string());
    if (document && document->members.empty()) return file; // an empty file, which edit_policy begins
    auto parsed = parse_policy(file.text, path.string());
    if (!parsed) return std::unexpected(to_error(parsed.error()));
    file.source = std::move(parsed->source);
    file.sets_mode = document && document->find("mode") != nullptr;
    return file;
}

/// Gives each edit to the files it concerns.
void distribute(std::vector<PolicyText>& files, std::span<const Edit> edits) {
    PolicyText& main_file = files.front();
    for (const Edit& edit : edits) {
        if (std::holds_alternative<SetMode>(edit)) {
            const auto last = std::ranges::find(files.rbegin(), files.rend(), true, &PolicyText::sets_mode);
            (last != files.rend() ? *last : main_file).edits.push_back(edit);
        } else if (std::holds_alternative<RemoveEntry>(edit)) {
            for (PolicyText& file : files)
                file.edits.push_back(edit);
        } else {
            const auto& added = std::get<AddEntry>(edit);
            const auto has_it = [&added](const PolicyText& file) {
                return has_entry(file.source, added.list, added.text);
            };
            const auto drop_in = std::find_if(std::next(files.begin()), files.end(), has_it);
            (drop_in != files.end() ? *drop_in : main_file).edits.push_back(edit);
        }
    }
}

} // namespace

sys::Result<std::string> edit_policy(std::string_view text, std::span<const Edit> edits) {
    std::string edited(text);
    begin_if_empty(edited);
    const auto before = parse_policy(edited, "the policy");
    if (!before) return std::unexpected(to_error(before.error()));
    PolicySource expected = before->source;
    std::map<List, ListChange> changes;
    for (const List list : all_lists) {
        ListChange change = TRY(change_of(list, before->source, edits));
        auto& entries = entries_of(expected, list);
        std::erase_if(entries, [&](const PolicySource::Entry& entry) {
            return change.removed.contains(comparison_key(list, entry.text));
        });
        for (const std::string& entry : change.added)
            entries.push_back({entry, {}});
        changes.emplace(list, std::move(change));
    }
    for (const Edit& edit : edits)
        if (const auto* set = std::get_if<SetMode>(&edit)) expected.mode = set->mode;
    if (same_meaning(expected, before->source)) return std::string(text);

    const bool same_mode = expected.mode == before->source.mode;
    const bool done = (same_mode || change_mode(edited, expected.mode))
                      && std::ranges::all_of(changes, [&edited](const auto& change) {
                             return change_list(edited, change.first, change.second);
                         });
    const auto after = parse_policy(edited, "the policy");
    if (!done || !after || !same_meaning(after->source, expected))
        return sys::failure(sys::ErrorKind::failed,
                            "this policy is written in a way that cannot be changed safely",
                            "edit the file by hand; nothing was written");
    return edited;
}

sys::Result<std::vector<EditedFile>> edit_files(std::span<const fs::path> paths,
                                                std::span<const Edit> edits) {
    if (paths.empty()) return sys::failure(sys::ErrorKind::invalid, "no policy file to change");
    std::vector<PolicyText> files;
    for (const fs::path& path : paths) {
        PolicyText file = TRY(open_policy(path));
        files.push_back(std::move(file));
    }
    distribute(files, edits);
    std::vector<EditedFile> changed;
    for (const PolicyText& file : files) {
        auto edited = edit_policy(file.text, file.edits);
        if (!edited
            && edited.error().kind == sys::ErrorKind::failed) // an invalid entry is not the file's fault
            edited.error().what = fmt::format("{}: {}", file.path.string(), edited.error().what);
        std::string text = TRY(std::move(edited));
        if (text == file.text) continue;
        std::error_code code;
        const fs::path target = fs::canonical(file.path, code);
        changed.push_back({file.path, code ? file.path : target, std::move(text)});
    }
    return changed;
}

} // namespace kmodguard::config
