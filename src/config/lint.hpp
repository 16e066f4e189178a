// SPDX-License-Identifier: AGPL-3.0-only
//
// What a policy says against what this kernel has. A policy can be without error and still not do what its
// author thinks: a misspelt deny denies nothing, an allowed module may be refused for the sake of a
// dependency. Such things are found here before a machine finds them.
#pragma once

#include "config/diagnostic.hpp"
#include "core/module_index.hpp"
#include "core/policy.hpp"

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace kmodguard::config {

struct LintOptions {
    /// An alias pattern that admits more modules than this is worth a second look.
    std::size_t many_modules = 32;
    /// The names of the modules that are loaded on the kernel that the policy is for, if that is known.
    std::optional<std::vector<std::string>> loaded = std::nullopt;
    /// Another kernel, which may know listed modules that this one has under another name; may be nullptr.
    core::ModuleIndex* former = nullptr;
    std::string former_release = {};
};

/// Findings about `source` on a kernel with the modules of `index`; warnings all, ordered by file, line and
/// message. Those that load_policy gives already are among them, in the same words: config::merge takes them
/// together.
[[nodiscard]] Diagnostics lint(const core::PolicySource& source, core::ModuleIndex& index,
                               const LintOptions& options = {});

} // namespace kmodguard::config
