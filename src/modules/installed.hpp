// SPDX-License-Identifier: AGPL-3.0-only
//
// Which modules are there at all: libkmod answers for names, but does not list them.
#pragma once

#include "sys/paths.hpp"

#include <string>
#include <vector>

namespace kmodguard::modules {

/// Canonical names of the image files below /lib/modules/`release`, sorted, each once. Unreadable folders are
/// skipped.
[[nodiscard]] std::vector<std::string> installed_modules(const sys::Paths& paths, const std::string& release);

} // namespace kmodguard::modules
