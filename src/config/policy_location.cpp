// SPDX-License-Identifier: AGPL-3.0-only
#include "config/policy_location.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <utility>

namespace kmodguard::config {

namespace fs = std::filesystem;

namespace {

/// What packages and editors leave, and what explains the directory.
bool is_no_policy(std::string_view name) {
    return name.starts_with('.') || name.starts_with("README") || name.ends_with('~')
           || name.contains(".dpkg-") || name.contains(".ucf-") || name.ends_with(".rpmnew")
           || name.ends_with(".rpmsave");
}

/// A link to /dev/null in place of a drop-in takes it away, as with systemd.
bool is_masked(const fs::path& path) {
    std::error_code code;
    return fs::read_symlink(path, code) == "/dev/null";
}

} // namespace

std::error_code each_file(const fs::path& directory, const std::function<bool(const fs::path&)>& take) {
    std::error_code code;
    fs::directory_iterator entries(directory, code);
    while (!code && entries != fs::directory_iterator() && take(entries->path()))
        entries.increment(code);
    return code == std::errc::no_such_file_or_directory ? std::error_code() : code;
}

std::expected<DropIns, Diagnostic> find_drop_ins(const PolicyLocation& location, const PolicyLimits& limits) {
    DropIns drop_ins;
    if (location.drop_in_directory.empty()) return drop_ins;
    const std::error_code code = each_file(location.drop_in_directory, [&](const fs::path& path) {
        const std::string name = path.filename().native();
        const bool readable = path.extension() == ".toml" && !name.starts_with('.');
        if (readable && !is_masked(path)) drop_ins.read.push_back(path);
        if (!readable && !is_no_policy(name) && drop_ins.unread.size() < limits.drop_ins)
            drop_ins.unread.push_back(path);
        return drop_ins.read.size() <= limits.drop_ins;
    });
    if (drop_ins.read.size() > limits.drop_ins)
        return std::unexpected(error_at(location.drop_in_directory, {},
                                        fmt::format("more than {} policy files", limits.drop_ins),
                                        "join some of them"));
    if (code)
        return std::unexpected(error_at(location.drop_in_directory, {},
                                        "cannot list the drop-in directory: " + code.message(),
                                        code == std::errc::permission_denied ? "run as root" : ""));
    std::ranges::sort(drop_ins.read);
    std::ranges::sort(drop_ins.unread);
    if (location.root != "/")
        for (fs::path& path : drop_ins.read) // in the order of their names in the directory
            path = sys::follow_below(location.root, path);
    return drop_ins;
}

PolicyLocation::PolicyLocation(const sys::Paths& paths)
    : main_file(paths.policy()), drop_in_directory(paths.policy_drop_ins()), root(paths.root()) {}

PolicyLocation::PolicyLocation(fs::path file, fs::path directory)
    : main_file(std::move(file)), drop_in_directory(std::move(directory)) {}

std::expected<std::vector<fs::path>, Diagnostic> policy_files(const PolicyLocation& location,
                                                              const PolicyLimits& limits) {
    auto drop_ins = TRY(find_drop_ins(location, limits));
    std::vector<fs::path> files = std::move(drop_ins.read);
    files.insert(files.begin(), location.main_file);
    return files;
}

} // namespace kmodguard::config
