// SPDX-License-Identifier: AGPL-3.0-only
#include "daemon/file_states.hpp"

#include "config/policy_file.hpp"

namespace kmodguard::daemon {
namespace {

void add_state(FileStates& states, const std::filesystem::path& file) {
    const auto identity = sys::file_identity(file);
    states.emplace(file, identity ? std::optional(*identity) : std::nullopt);
}

} // namespace

FileStates states_of_policy_files(const sys::Paths& paths) {
    FileStates states;
    auto files = config::policy_files(paths);
    if (!files) files = {paths.policy()};
    for (const auto& file : *files)
        add_state(states, file);
    return states;
}

FileStates states_of_modprobe_configuration(const sys::Paths& paths) {
    FileStates states;
    for (const auto& directory : paths.modprobe_configuration()) {
        std::error_code error;
        std::filesystem::directory_iterator entry(directory, error);
        for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error))
            add_state(states, entry->path());
    }
    return states;
}

std::vector<std::string> changed_files(const FileStates& then, const FileStates& now) {
    std::vector<std::string> changed;
    for (const auto& [file, identity] : now)
        if (const auto before = then.find(file); before == then.end() || before->second != identity)
            changed.push_back(file.native());
    for (const auto& [file, identity] : then)
        if (!now.contains(file)) changed.push_back(file.native());
    return changed;
}

} // namespace kmodguard::daemon
