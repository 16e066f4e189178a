// SPDX-License-Identifier: AGPL-3.0-only
//
// The four lists of a policy, what may be in them, and what in them repeats or contradicts one another.
// Reader and editor ask here, so that nothing can be written that would not be read again.
#pragma once

#include "config/diagnostic.hpp"
#include "core/policy.hpp"
#include "sys/result.hpp"

#include <array>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kmodguard::config {

enum class List { allow_modules, allow_aliases, deny_modules, deny_aliases };

inline constexpr std::array all_lists = {List::allow_modules, List::allow_aliases, List::deny_modules,
                                         List::deny_aliases};

/// "allow" or "deny".
[[nodiscard]] std::string_view table_of(List list);
/// "modules" or "aliases".
[[nodiscard]] std::string_view key_of(List list);
/// "allow.modules".
[[nodiscard]] std::string path_of(List list);
[[nodiscard]] bool holds_modules(List list);

[[nodiscard]] std::vector<core::PolicySource::Entry>& entries_of(core::PolicySource& source, List list);
[[nodiscard]] const std::vector<core::PolicySource::Entry>& entries_of(const core::PolicySource& source,
                                                                       List list);

/// `text` as an entry of `list` is kept: a module's canonical name ("foo-bar.ko" is foo_bar), an alias
/// pattern as it is. Anything that can be no such entry is invalid, with a hint to where it belongs.
[[nodiscard]] sys::Result<std::string> check_entry(List list, std::string_view text);

/// The canonical name of the module that `text` means. Paths and patterns are invalid; `pattern_hint` says
/// where patterns go.
[[nodiscard]] sys::Result<std::string> check_module(std::string_view text, std::string_view pattern_hint);

/// What two entries of `list` have in common if they mean the same, as modprobe compares them.
[[nodiscard]] std::string comparison_key(List list, std::string_view entry);

/// Entries that are in a list twice, modules both allowed and denied, pins given twice: warnings by file and
/// line. None of them changes a decision, and all of them surprise a reader later.
[[nodiscard]] Diagnostics find_overlaps(const core::PolicySource& source);

/// The one of `candidates` that `word` is most likely a slip for; "" if none is near.
[[nodiscard]] std::string_view nearest(std::string_view word, std::span<const std::string_view> candidates);

} // namespace kmodguard::config
