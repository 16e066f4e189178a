// SPDX-License-Identifier: AGPL-3.0-only
//
// In which state files were that the daemon has read, so that it notices when they are others. By path;
// nothing: it is not there, or no regular file.
#pragma once

#include "sys/file.hpp"
#include "sys/paths.hpp"

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace kmodguard::daemon {

using FileStates = std::map<std::filesystem::path, std::optional<sys::FileIdentity>>;

[[nodiscard]] FileStates states_of_policy_files(const sys::Paths& paths);
/// Of modprobe.d; libkmod itself notices only that files come and go.
[[nodiscard]] FileStates states_of_modprobe_configuration(const sys::Paths& paths);

/// The files that are changed, new or gone.
[[nodiscard]] std::vector<std::string> changed_files(const FileStates& then, const FileStates& now);

} // namespace kmodguard::daemon
