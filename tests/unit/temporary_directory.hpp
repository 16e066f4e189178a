// SPDX-License-Identifier: AGPL-3.0-only
//
// A directory of one test's own, empty at first and gone with all that is in it at the end.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace kmodguard::test {

class TemporaryDirectory {
  public:
    TemporaryDirectory();
    TemporaryDirectory(const TemporaryDirectory&) = delete;
    TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
    ~TemporaryDirectory();

    [[nodiscard]] const std::filesystem::path& path() const { return path_; }
    [[nodiscard]] std::filesystem::path operator/(std::string_view name) const;

    /// Writes a file below it and gives its path.
    std::filesystem::path write(std::string_view name, std::string_view content) const;
    /// What is in it, sorted.
    [[nodiscard]] std::vector<std::string> names() const;

  private:
    std::filesystem::path path_;
};

} // namespace kmodguard::test
