// SPDX-License-Identifier: AGPL-3.0-only
#include "modules/installed.hpp"

#include "core/names.hpp"

#include <algorithm>
#include <filesystem>

namespace kmodguard::modules {

std::vector<std::string> installed_modules(const sys::Paths& paths, const std::string& release) {
    namespace fs = std::filesystem;
    std::vector<std::string> names;
    std::error_code error;
    fs::recursive_directory_iterator entry(paths.modules(release),
                                           fs::directory_options::skip_permission_denied, error);
    for (; !error && entry != fs::recursive_directory_iterator(); entry.increment(error)) {
        const std::string file = entry->path().filename();
        if (!file.ends_with(".ko") && file.find(".ko.") == std::string::npos) continue;
        if (auto name = core::module_name_of(file)) names.push_back(std::move(*name));
    }
    std::ranges::sort(names);
    names.erase(std::ranges::unique(names).begin(), names.end());
    return names;
}

} // namespace kmodguard::modules
