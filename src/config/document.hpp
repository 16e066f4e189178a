// SPDX-License-Identifier: AGPL-3.0-only
//
// A configuration document as a plain tree in which every value and key knows its place, and the two readers
// that make one of a text. toml_reader.cpp alone sees toml++, and yaml_reader.cpp yaml-cpp: heavy headers,
// and libraries with limits of their own, so what goes in is measured first. What the values mean is of no
// concern here.
#pragma once

#include "config/diagnostic.hpp"

#include <cstddef>
#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <vector>

namespace kmodguard::config {

/// Values in one document; enough for core's largest policy in any spelling.
inline constexpr std::size_t max_document_values = 250'000;

struct Member;

struct Node {
    enum class Kind { table, array, string, integer, floating, boolean, date_time, date, time, null, alias };

    Kind kind = Kind::table;      ///< alias: of YAML, and what it refers to is not looked up
    Position at = {};             ///< of its first character; of the header for a table written as one
    std::string text = {};        ///< string: its value; date_time, date: in RFC 3339 form; YAML: as written
    std::int64_t integer = 0;     ///< integer: its value
    bool boolean = false;         ///< boolean: its value
    std::vector<Node> items = {}; ///< array: its elements, in order
    std::vector<Member> members;  ///< table: its entries, in the order in which they are written

    /// The member called `key`, or nullptr.
    [[nodiscard]] const Member* find(std::string_view key) const;
};

struct Member {
    std::string key;
    Position at; ///< of the key
    Node value;
};

inline const Member* Node::find(std::string_view key) const {
    for (const Member& member : members)
        if (member.key == key) return &member;
    return nullptr;
}

/// Parses TOML 1.0. Only the first error, as the parser stops there; `shown_name` is the file it names.
/// Besides max_document_values the dots of keys and the depth of arrays and inline tables are bounded: the
/// library recurses over nested tables, and searches its tables of dotted keys one by one.
[[nodiscard]] std::expected<Node, Diagnostic> read_toml(std::string_view text, const std::string& shown_name);

/// Bytes that can begin or end a token of YAML: "[]{},:!?&*" and quotes. A megabyte of them is no
/// configuration.
inline constexpr std::size_t max_yaml_indicators = 1'000'000;

/// Reads a file of one YAML 1.2 document (core schema); an empty file is a null. Only the first error.
/// Aliases are Node::Kind::alias: what they refer to is not looked up, and where it is needed that is an
/// error. Refused besides what is not YAML: a second document, a key that is no scalar or that its mapping
/// has already, tags of the author's own, mappings and lists nested more than 64 deep, more than
/// max_document_values values, and bytes that parsers disagree about. Keys are kept as written.
[[nodiscard]] std::expected<Node, Diagnostic> read_yaml(std::string_view text, const std::string& shown_name);

} // namespace kmodguard::config
