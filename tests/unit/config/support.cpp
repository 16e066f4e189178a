// SPDX-License-Identifier: AGPL-3.0-only
#include "config/support.hpp"

#include "config/diagnostic.hpp"

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <system_error>

namespace kmodguard::config::test {

TemporaryDirectory::TemporaryDirectory() {
    std::string name = (std::filesystem::temp_directory_path() / "kmodguard-config-XXXXXX").string();
    path_ = ::mkdtemp(name.data()) != nullptr ? name : std::string{};
}

TemporaryDirectory::~TemporaryDirectory() {
    std::error_code ignored;
    if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
}

std::filesystem::path TemporaryDirectory::write(const std::string& name, std::string_view content) const {
    const std::filesystem::path file = path_ / name;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file, std::ios::binary) << content;
    std::filesystem::permissions(file, std::filesystem::perms(0600));
    return file;
}

std::string content_of(const std::filesystem::path& path) {
    std::ifstream stream(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(stream), {}};
}

std::vector<std::string> texts(const std::vector<core::PolicySource::Entry>& entries) {
    std::vector<std::string> found;
    for (const auto& entry : entries)
        found.push_back(entry.text);
    return found;
}

std::string said_of(std::string_view text, const PolicyLimits& limits) {
    const auto policy = parse_policy(text, "p.toml", limits);
    return render(policy ? policy->warnings : policy.error());
}

} // namespace kmodguard::config::test
