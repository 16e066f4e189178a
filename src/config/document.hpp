// SPDX-License-Identifier: AGPL-3.0-only
//
// A configuration document as a plain tree in which every value and key knows its place. It stands between
// the parser libraries, which only toml_reader.cpp and yaml_reader.cpp see, and everything that gives the
// values a meaning.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace kmodguard::config {

/// Both from 1; columns count code points. 0: unknown.
struct Position {
    unsigned line = 0;
    unsigned column = 0;

    auto operator<=>(const Position&) const = default;
};

struct Member;

struct Node {
    enum class Kind { table, array, string, integer, floating, boolean, date_time, date, time, null, alias };

    Kind kind = Kind::table;     ///< alias: of YAML, and what it stands for is not looked up
    Position at;                 ///< of its first character; of the header for a table written as one
    std::string text;            ///< string: its value; date_time, date: in RFC 3339 form; YAML: as written
    std::int64_t integer = 0;    ///< integer: its value
    bool boolean = false;        ///< boolean: its value
    std::vector<Node> items;     ///< array: its elements, in order
    std::vector<Member> members; ///< table: its entries, in the order in which they are written

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

} // namespace kmodguard::config
