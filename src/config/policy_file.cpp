// SPDX-License-Identifier: AGPL-3.0-only
#include "config/policy_file.hpp"

#include "config/policy_schema.hpp"
#include "config/toml_reader.hpp"
#include "config/yaml_reader.hpp"
#include "config/yaml_schema.hpp"
#include "sys/file.hpp"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <system_error>
#include <utility>

namespace kmodguard::config {
namespace {

namespace fs = std::filesystem;

Diagnostic file_diagnostic(Severity severity, const std::string& file, std::string message,
                           std::string hint = {}) {
    return {severity, file, 0, 0, std::move(message), std::move(hint)};
}

/// Gathers files into one source.
class Loader {
  public:
    explicit Loader(const Limits& limits) : limits_(limits) {}

    void add_text(std::string_view text, const std::string& shown_name) {
        const auto file = static_cast<std::uint32_t>(loaded_.source.files.size());
        loaded_.source.files.push_back(shown_name);
        if (text.size() > limits_.file_bytes)
            return report(file_diagnostic(Severity::error, shown_name,
                                          fmt::format("larger than {} bytes", limits_.file_bytes),
                                          "cover whole families of modules by patterns in allow.aliases"));
        const bool yaml = form_of(shown_name) == Form::yaml;
        const auto document = yaml ? read_yaml(text, shown_name) : read_toml(text, shown_name);
        if (!document) return report(document.error());
        const auto read = yaml ? read_yaml_schema : read_schema;
        read(*document, loaded_.source, file, limits_.entries, loaded_.warnings);
    }

    void add_file(const fs::path& path, std::string_view hint_if_missing) {
        const std::string shown_name = path.string();
        const auto text = sys::read_file(path, limits_.file_bytes);
        if (text) {
            check_ownership(path, "file");
            add_text(*text, shown_name);
            return;
        }
        const bool missing = text.error().kind == sys::ErrorKind::not_found;
        loaded_.source.files.push_back(shown_name);
        report(file_diagnostic(Severity::error, shown_name, text.error().what,
                               missing ? std::string(hint_if_missing) : text.error().hint));
    }

    /// Whoever can write the policy decides what is loaded.
    void check_ownership(const fs::path& path, std::string_view kind) {
        struct stat status{};
        if (::stat(path.c_str(), &status) != 0) return;
        if ((status.st_mode & (S_IWGRP | S_IWOTH)) != 0)
            report(file_diagnostic(Severity::warning, path.string(),
                                   fmt::format("this policy {} is writable by {}", kind,
                                               (status.st_mode & S_IWOTH) != 0 ? "everyone" : "its group"),
                                   fmt::format("chmod go-w {}", path.string())));
        if (status.st_uid != 0 && status.st_uid != ::geteuid())
            report(file_diagnostic(
                Severity::warning, path.string(),
                fmt::format("this policy {} belongs to user {}, who can change it", kind, status.st_uid),
                fmt::format("chown root {}", path.string())));
    }

    void report(Diagnostic diagnostic) { loaded_.warnings.push_back(std::move(diagnostic)); }

    PolicyResult finish() && {
        merge(loaded_.warnings, find_overlaps(loaded_.source));
        if (has_errors(loaded_.warnings)) return std::unexpected(std::move(loaded_.warnings));
        return std::move(loaded_);
    }

  private:
    const Limits& limits_;
    LoadedPolicy loaded_; ///< its warnings hold the errors too, until finish()
};

} // namespace

Form form_of(const fs::path& file) {
    const fs::path suffix = file.extension();
    return suffix == ".yaml" || suffix == ".yml" ? Form::yaml : Form::toml;
}

std::expected<std::vector<fs::path>, Diagnostic>
policy_files(const fs::path& main_file, const fs::path& drop_in_directory, const Limits& limits) {
    std::vector<fs::path> drop_ins;
    std::error_code code;
    fs::directory_iterator entries = drop_in_directory.empty()
                                         ? fs::directory_iterator()
                                         : fs::directory_iterator(drop_in_directory, code);
    const auto problem = [&](std::string message, std::string hint) {
        return std::unexpected(file_diagnostic(Severity::error, drop_in_directory.string(),
                                               std::move(message), std::move(hint)));
    };
    while (!code && entries != fs::directory_iterator()) {
        const fs::path& path = entries->path();
        if (path.extension() == ".toml" && !path.filename().native().starts_with('.'))
            drop_ins.push_back(path);
        if (drop_ins.size() > limits.drop_ins)
            return problem(fmt::format("more than {} policy files", limits.drop_ins), "join some of them");
        entries.increment(code);
    }
    if (code && code != std::errc::no_such_file_or_directory)
        return problem("cannot list the drop-in directory: " + code.message(),
                       code == std::errc::permission_denied ? "run as root" : "");
    std::ranges::sort(drop_ins);
    drop_ins.insert(drop_ins.begin(), main_file);
    return drop_ins;
}

PolicyResult load_policy(const fs::path& main_file, const fs::path& drop_in_directory, const Limits& limits) {
    Loader loader(limits);
    auto files = policy_files(main_file, drop_in_directory, limits);
    loader.add_file(main_file, "run `kmodctl init` to write a baseline from what is loaded now");
    if (!files) {
        loader.report(std::move(files.error()));
        return std::move(loader).finish();
    }
    for (std::size_t i = 1; i < files->size(); ++i)
        loader.add_file((*files)[i],
                        "a link that leads nowhere, or a file that vanished just now: try again");
    if (!drop_in_directory.empty()) loader.check_ownership(drop_in_directory, "directory");
    return std::move(loader).finish();
}

PolicyResult parse_policy(std::string_view text, const std::string& shown_name, const Limits& limits) {
    Loader loader(limits);
    loader.add_text(text, shown_name);
    return std::move(loader).finish();
}

} // namespace kmodguard::config
