// SPDX-License-Identifier: AGPL-3.0-only
//
// What the tests of config share: a directory that is gone afterwards, and policies in short.
#pragma once

#include "config/policy_file.hpp"
#include "core/policy.hpp"

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace kmodguard::config::test {

class TemporaryDirectory {
  public:
    TemporaryDirectory();
    TemporaryDirectory(const TemporaryDirectory&) = delete;
    TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
    ~TemporaryDirectory();

    [[nodiscard]] const std::filesystem::path& path() const { return path_; }

    /// Writes a file of mode 0600 and returns its path.
    std::filesystem::path write(const std::string& name, std::string_view content) const;

  private:
    std::filesystem::path path_;
};

std::string content_of(const std::filesystem::path& path);

/// The texts of a list, in order.
std::vector<std::string> texts(const std::vector<core::PolicySource::Entry>& entries);

using Texts = std::vector<std::string>;

/// What a user sees of a policy called p.toml: errors and warnings, or the warnings of a usable one.
std::string said_of(std::string_view text, const PolicyLimits& limits = {});

} // namespace kmodguard::config::test
