// SPDX-License-Identifier: AGPL-3.0-only
//
// The one door to yaml-cpp. Its parser's events are taken and not its document, since that recurses over what
// it holds and lets a few lines of aliases stand for gigabytes: events can be counted, and refused as they
// come. What comes out is the plain tree of document.hpp.
#pragma once

#include "config/diagnostic.hpp"
#include "config/document.hpp"

#include <cstddef>
#include <expected>
#include <string>
#include <string_view>

namespace kmodguard::config {

/// Mappings and lists in one another.
inline constexpr std::size_t max_yaml_depth = 64;

/// Reads a file of one YAML 1.2 document (core schema); an empty file is a null. The first error only.
/// Aliases are Node::Kind::alias: what they stand for is not looked up, and whoever needs it says so. Refused
/// besides what is not YAML: a second document, a key that is no scalar or that its mapping has already, tags
/// of the author's own, and more than max_document_values values. Keys are kept as written.
[[nodiscard]] std::expected<Node, Diagnostic> read_yaml(std::string_view text, const std::string& shown_name);

} // namespace kmodguard::config
