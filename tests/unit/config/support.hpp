// SPDX-License-Identifier: AGPL-3.0-only
//
// What the tests of config share: a directory that is gone afterwards, and policies in short.
#pragma once

#include "config/diagnostic.hpp"
#include "config/policy_file.hpp"
#include "core/policy.hpp"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace kmodguard::config::test {

class TemporaryDirectory {
  public:
    TemporaryDirectory() {
        std::string name = (std::filesystem::temp_directory_path() / "kmodguard-config-XXXXXX").string();
        path_ = ::mkdtemp(name.data()) != nullptr ? name : std::string{};
    }
    TemporaryDirectory(const TemporaryDirectory&) = delete;
    TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
    ~TemporaryDirectory() {
        std::error_code ignored;
        if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
    }

    [[nodiscard]] const std::filesystem::path& path() const { return path_; }

    /// Writes a file of mode 0600 and returns its path.
    std::filesystem::path write(const std::string& name, std::string_view content) const {
        const std::filesystem::path file = path_ / name;
        std::filesystem::create_directories(file.parent_path());
        std::ofstream(file, std::ios::binary) << content;
        std::filesystem::permissions(file, std::filesystem::perms(0600));
        return file;
    }

  private:
    std::filesystem::path path_;
};

inline std::string content_of(const std::filesystem::path& path) {
    std::ifstream stream(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(stream), {}};
}

/// The texts of a list, in order.
inline std::vector<std::string> texts(const std::vector<core::PolicySource::Entry>& entries) {
    std::vector<std::string> found;
    for (const auto& entry : entries)
        found.push_back(entry.text);
    return found;
}

using Texts = std::vector<std::string>;

/// What a user sees of a policy called p.toml: errors and warnings, or the warnings of a usable one.
inline std::string said_of(std::string_view text, const Limits& limits = {}) {
    const auto policy = parse_policy(text, "p.toml", limits);
    return render(policy ? policy->warnings : policy.error());
}

} // namespace kmodguard::config::test
