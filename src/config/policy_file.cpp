// SPDX-License-Identifier: AGPL-3.0-only
#include "config/policy_file.hpp"

#include "config/document.hpp"
#include "config/entry.hpp"
#include "config/policy_schema.hpp"
#include "sys/file.hpp"
#include "sys/paths.hpp"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <iterator>
#include <optional>
#include <system_error>
#include <tuple>
#include <utility>

namespace kmodguard::config {
namespace {

namespace fs = std::filesystem;

/// What the framework writes at the start of a run: everything is merged into it.
constexpr std::string_view merged_configuration = "core_config.yaml";

/// Whether others than root can write `path`. A file in a directory with the sticky bit is its owner's alone.
void check_access(const fs::path& path, std::string_view kind, Diagnostics& found) {
    struct stat status{};
    if (::stat(path.c_str(), &status) != 0) return;
    if (!S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode)) return; // no policy, which is an error already
    const bool shared = S_ISDIR(status.st_mode) && (status.st_mode & S_ISVTX) != 0;
    if ((status.st_mode & (S_IWGRP | S_IWOTH)) != 0 && !shared)
        found.push_back(
            warning_at(path, {},
                       fmt::format("this policy {} is writable by {}, who can decide what is loaded", kind,
                                   (status.st_mode & S_IWOTH) != 0 ? "everyone" : "its group"),
                       fmt::format("chmod go-w {}", path.string())));
    if (status.st_uid != 0 && status.st_uid != ::geteuid())
        found.push_back(warning_at(
            path, {},
            fmt::format("this policy {} belongs to user {}, who can change it", kind, status.st_uid),
            fmt::format("chown root {}", path.string())));
}

/// Gathers files into one source.
class PolicyReader {
  public:
    explicit PolicyReader(const PolicyLimits& limits) : limits_(limits) {}

    enum class Role { main_file, drop_in, patch };

    /// A drop-in without any key means nothing; a policy without one is none. The document, if it is one.
    std::optional<Node> add_text(std::string_view text, const std::string& shown_name,
                                 Role role = Role::main_file) {
        const auto file = static_cast<std::uint32_t>(loaded_.source.files.size());
        loaded_.source.files.push_back(shown_name);
        if (text.size() > limits_.file_bytes) {
            report(error_at(shown_name, {}, fmt::format("larger than {} bytes", limits_.file_bytes),
                            "cover whole families of modules by patterns in allow.aliases"));
            return std::nullopt;
        }
        const bool yaml = form_of(shown_name) == Form::yaml;
        auto document = yaml ? read_yaml(text, shown_name) : read_toml(text, shown_name);
        if (!document) {
            report(document.error());
            return std::nullopt;
        }
        if (role == Role::drop_in && document->members.empty()) return std::move(*document);
        const auto read = role == Role::patch ? read_yaml_patch : yaml ? read_yaml_schema : read_schema;
        Diagnostics found;
        read(*document, loaded_.source, file, limits_.entries, found);
        std::ranges::sort(found, {}, [](const Diagnostic& diagnostic) { // what has no line comes last
            return std::tuple{diagnostic.line == 0, diagnostic.line, diagnostic.column,
                              std::string_view(diagnostic.message)};
        });
        report(std::move(found));
        return std::move(*document);
    }

    std::optional<Node> add_file(const fs::path& path, Role role) {
        const std::string shown_name = path.string();
        const auto text = sys::read_file(path, limits_.file_bytes);
        if (text) return add_text(*text, shown_name, role);
        loaded_.source.files.push_back(shown_name);
        Diagnostic problem = error_at(shown_name, {}, text.error().what, text.error().hint);
        if (text.error().kind == sys::ErrorKind::not_found && role == Role::main_file) {
            problem.kind = sys::ErrorKind::not_found;
            problem.hint = "run `kmodctl init` to write a baseline from what is loaded now";
        } else if (text.error().kind == sys::ErrorKind::not_found) {
            problem.hint = "a link that leads nowhere, or a file that vanished just now: try again";
        }
        report(std::move(problem));
        return std::nullopt;
    }

    /// The main file, and what an emulation framework merges into one of its projects' configurations.
    void add_main_file(const fs::path& path) {
        const auto file = static_cast<std::uint32_t>(loaded_.source.files.size());
        const auto document = add_file(path, Role::main_file);
        if (!document || form_of(path) != Form::yaml || path.filename() == merged_configuration) return;
        const YamlPatches patches = yaml_patches(*document, loaded_.source, file, loaded_.warnings);
        const fs::path folder = path.parent_path();
        std::vector<fs::path> files;
        for (const YamlPatches::Named& patch : patches.named) {
            std::error_code code;
            files.push_back(folder / patch.path);
            if (fs::exists(files.back(), code) || code) continue;
            files.pop_back(); // the framework passes it over
            report(warning_at(
                path, patch.at,
                fmt::format("there is no patch {}, and the framework ignores that", in_quotes(patch.path)),
                "remove it, or restore the file"));
        }
        if (patches.beside) add_patches_beside(folder, files);
        if (files.size() > limits_.drop_ins)
            return report(error_at(path, {}, fmt::format("more than {} patches", limits_.drop_ins),
                                   "give the core_config.yaml of a run's output folder"));
        for (const fs::path& patch : files) {
            check_access(patch, "file", loaded_.warnings);
            add_file(patch, Role::patch);
        }
    }

    void add_patches_beside(const fs::path& folder, std::vector<fs::path>& files) {
        for (const bool inner : {false, true}) {
            const fs::path from = inner ? folder / "patches" : folder.empty() ? fs::path(".") : folder;
            std::vector<fs::path> found;
            const std::error_code code = each_file(from, [&](const fs::path& path) {
                if (path.extension() == ".yaml" && (inner || path.filename().native().starts_with("patch_")))
                    found.push_back(path);
                return found.size() <= limits_.drop_ins; // else it is an error
            });
            if (code)
                report(error_at(from, {}, "cannot be searched for patches: " + code.message(),
                                "give the core_config.yaml of a run's output folder"));
            std::ranges::sort(found);
            files.insert(files.end(), found.begin(), found.end());
        }
    }

    void report(Diagnostics found) { std::ranges::move(found, std::back_inserter(loaded_.warnings)); }
    void report(Diagnostic diagnostic) { loaded_.warnings.push_back(std::move(diagnostic)); }

    PolicyResult finish() && {
        merge(loaded_.warnings, find_overlaps(loaded_.source));
        if (has_errors(loaded_.warnings)) return std::unexpected(std::move(loaded_.warnings));
        return std::move(loaded_);
    }

  private:
    const PolicyLimits& limits_;
    LoadedPolicy loaded_; ///< its warnings have the errors too, until finish()
};

} // namespace

Form form_of(const fs::path& file) {
    const fs::path suffix = file.extension();
    return suffix == ".yaml" || suffix == ".yml" ? Form::yaml : Form::toml;
}

Diagnostics writable_by_others(const PolicyLocation& location) {
    Diagnostics found;
    check_access(location.main_file, "file", found);
    if (location.drop_in_directory.empty()) return found;
    check_access(location.main_file.parent_path(), "directory", found);
    check_access(location.drop_in_directory, "directory", found);
    if (const auto drop_ins = find_drop_ins(location, {}))
        for (const fs::path& file : drop_ins->read)
            check_access(file, "file", found);
    return found;
}

PolicyResult load_policy(const PolicyLocation& location, const PolicyLimits& limits) {
    PolicyReader reader(limits);
    auto drop_ins = find_drop_ins(location, limits);
    reader.add_main_file(location.main_file);
    if (!drop_ins) {
        reader.report(std::move(drop_ins.error()));
        return std::move(reader).finish();
    }
    for (const fs::path& file : drop_ins->read)
        reader.add_file(file, PolicyReader::Role::drop_in);
    for (const fs::path& file : drop_ins->unread)
        reader.report(warning_at(file, {}, "this file is not read: the names of drop-ins end in .toml",
                                 form_of(file) == Form::yaml ? "`kmodctl convert` makes a TOML policy of it"
                                                             : "rename it, or take it out of the directory"));
    reader.report(writable_by_others(location));
    return std::move(reader).finish();
}

PolicyResult parse_policy(std::string_view text, const std::string& shown_name, const PolicyLimits& limits) {
    PolicyReader reader(limits);
    reader.add_text(text, shown_name);
    return std::move(reader).finish();
}

} // namespace kmodguard::config
