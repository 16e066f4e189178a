// SPDX-License-Identifier: AGPL-3.0-only
//
// A struct as lines of an answer, and back, by one table: a tuple of rows, each a key and a member. Whatever
// else shows the struct, as JSON does, walks the same table, so that there is no second list to forget a row
// in.
#pragma once

#include "core/policy.hpp"
#include "protocol/message.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

namespace kmodguard::protocol {

template <typename Struct, typename Value>
struct Row {
    std::string_view key;
    Value Struct::* member;
    std::string_view meaning;      ///< for docs/PROTOCOL.md
    bool shown_when_empty = false; ///< in JSON, of a list
};

[[nodiscard]] std::string text_of(bool value); ///< "yes" or "no"
[[nodiscard]] std::string text_of(std::uint64_t value);
[[nodiscard]] std::string text_of(core::Mode value);
[[nodiscard]] inline std::string text_of(const std::string& value) {
    return value;
}

/// False: `text` is none.
[[nodiscard]] bool from_text(const std::string& text, bool& value);
[[nodiscard]] bool from_text(const std::string& text, std::uint64_t& value);
[[nodiscard]] bool from_text(const std::string& text, core::Mode& value);
[[nodiscard]] bool from_text(const std::string& text, std::string& value);
template <typename Value>
[[nodiscard]] bool from_text(const std::string& text, std::optional<Value>& value) {
    return from_text(text, value.emplace());
}
/// A line each.
template <typename Value>
[[nodiscard]] bool from_text(const std::string& text, std::vector<Value>& values) {
    return from_text(text, values.emplace_back());
}

template <typename Value>
void add_field(std::vector<Field>& fields, std::string_view key, const Value& value) {
    fields.push_back({std::string(key), text_of(value)});
}
template <typename Value>
void add_field(std::vector<Field>& fields, std::string_view key, const std::optional<Value>& value) {
    if (value) add_field(fields, key, *value);
}
template <typename Value>
void add_field(std::vector<Field>& fields, std::string_view key, const std::vector<Value>& values) {
    for (const Value& value : values)
        add_field(fields, key, value);
}

template <typename Struct, typename... Values>
[[nodiscard]] std::vector<Field> write_fields(const Struct& from,
                                              const std::tuple<Row<Struct, Values>...>& table) {
    std::vector<Field> fields;
    std::apply([&](const auto&... rows) { (add_field(fields, rows.key, from.*rows.member), ...); }, table);
    return fields;
}

/// What the rows say of `fields`. A key of no row is passed over: another version may have more. An error
/// names what cannot be read: it is not to be taken for nothing.
template <typename Struct, typename... Values>
[[nodiscard]] sys::Result<Struct> read_fields(const std::vector<Field>& fields,
                                              const std::tuple<Row<Struct, Values>...>& table) {
    Struct into;
    for (const Field& field : fields) {
        bool valid = true;
        const auto read = [&](const auto& row) {
            if (row.key == field.key) valid = from_text(field.value, into.*row.member);
        };
        std::apply([&](const auto&... rows) { (read(rows), ...); }, table);
        if (!valid)
            return sys::failure(sys::ErrorKind::failed,
                                "the daemon's answer cannot be read: " + field.key + " " + field.value,
                                "restart the daemon, if it is of another version");
    }
    return into;
}

} // namespace kmodguard::protocol
