// SPDX-License-Identifier: AGPL-3.0-only
//
// Which of several policy files an edit belongs to, and writing them.
#include "config/policy_edit.hpp"
#include "config/policy_file.hpp"
#include "config/toml_reader.hpp"
#include "sys/file.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <optional>
#include <system_error>
#include <utility>

namespace kmodguard::config {
namespace {

namespace fs = std::filesystem;

struct PolicyText {
    fs::path path;
    std::string text;
    core::PolicySource source;
    bool sets_mode = false;
    std::vector<Edit> edits;
};

/// Names the file that could not be edited; an entry that is not valid is not the file's fault.
std::unexpected<sys::Error> in_file(const fs::path& path, sys::Error error) {
    if (error.kind == sys::ErrorKind::failed) error.what = fmt::format("{}: {}", path.string(), error.what);
    return std::unexpected(std::move(error));
}

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
    PolicyText file{path, std::move(*text), {}, false, {}};
    const auto document = read_toml(file.text, path.string());
    if (document && document->members.empty()) return file; // an empty file, which edit_policy begins
    auto parsed = parse_policy(file.text, path.string());
    if (!parsed) return std::unexpected(to_error(parsed.error()));
    file.source = std::move(parsed->source);
    file.sets_mode = document && document->find("mode") != nullptr;
    return file;
}

bool holds(const PolicyText& file, List list, const std::string& text) {
    const std::string key = comparison_key(list, text);
    return std::ranges::any_of(entries_of(file.source, list), [&](const core::PolicySource::Entry& entry) {
        return comparison_key(list, entry.text) == key;
    });
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
                return holds(file, added.list, added.text);
            };
            const auto drop_in = std::find_if(std::next(files.begin()), files.end(), has_it);
            (drop_in != files.end() ? *drop_in : main_file).edits.push_back(edit);
        }
    }
}

sys::Result<void> write(const fs::path& path, std::string_view text) {
    std::error_code code;
    const fs::path target = fs::canonical(path, code);
    return sys::replace_file_atomically(code ? path : target, text);
}

} // namespace

sys::Result<std::vector<fs::path>> save_edits(std::span<const fs::path> files, std::span<const Edit> edits) {
    if (files.empty()) return sys::failure(sys::ErrorKind::invalid, "no policy file to change");
    std::vector<PolicyText> open;
    for (const fs::path& path : files) {
        PolicyText file = TRY(open_policy(path));
        open.push_back(std::move(file));
    }
    distribute(open, edits);

    std::vector<std::optional<std::string>> written(open.size());
    for (std::size_t i = 0; i < open.size(); ++i) {
        auto text = edit_policy(open[i].text, open[i].edits);
        if (!text) return in_file(open[i].path, std::move(text.error()));
        if (*text != open[i].text) written[i] = std::move(*text);
    }
    std::vector<fs::path> changed;
    for (std::size_t i = 0; i < open.size(); ++i) {
        if (!written[i]) continue;
        if (auto done = write(open[i].path, *written[i]); !done) {
            for (const fs::path& path : changed)
                done.error().what += "; already written: " + path.string();
            return std::unexpected(std::move(done.error()));
        }
        changed.push_back(open[i].path);
    }
    return changed;
}

} // namespace kmodguard::config
