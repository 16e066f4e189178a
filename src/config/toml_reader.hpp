// SPDX-License-Identifier: AGPL-3.0-only
//
// The one door to toml++. The library is a heavy header and has limits of its own (it recurses over nested
// tables, and searches its tables of dotted keys one by one), so what goes in is measured first, and what
// comes out is the plain tree of document.hpp.
#pragma once

#include "config/diagnostic.hpp"
#include "config/document.hpp"

#include <cstddef>
#include <expected>
#include <string>
#include <string_view>

namespace kmodguard::config {

/// Values in one document; enough for core's largest policy in any spelling.
inline constexpr std::size_t max_document_values = 250'000;
/// Dots outside strings and comments: in practice those of dotted keys. Bounds how deep tables can nest.
inline constexpr std::size_t max_document_dots = 1'000;
/// Arrays and inline tables in one another.
inline constexpr std::size_t max_document_depth = 16;

/// Parses TOML 1.0. The first error only, as the parser stops there; `shown_name` is the file it names.
[[nodiscard]] std::expected<Node, Diagnostic> read_toml(std::string_view text, const std::string& shown_name);

} // namespace kmodguard::config
