// SPDX-License-Identifier: AGPL-3.0-only
#include "config/schema_report.hpp"

#include "config/entry.hpp"
#include "core/names.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace kmodguard::config {
namespace {

constexpr std::size_t max_diagnostics = 1000;
constexpr std::size_t hash_digits = 64;
constexpr std::size_t max_number = 64;

/// "the integer 5", for "expected a string, found ...".
std::string describe(const Node& node, Form form) {
    switch (node.kind) {
    case Node::Kind::table: return form == Form::yaml ? "a mapping" : "a table";
    case Node::Kind::array: return form == Form::yaml ? "a list" : "an array";
    case Node::Kind::string: return "the string " + in_quotes(node.text);
    case Node::Kind::integer:
        if (form == Form::yaml) return "the integer " + core::printable(node.text, max_number);
        return fmt::format("the integer {}", node.integer);
    case Node::Kind::floating: return "a floating-point number";
    case Node::Kind::boolean: return node.boolean ? "true" : "false";
    case Node::Kind::date_time: return "the date-time " + node.text;
    case Node::Kind::date: return "the date " + node.text;
    case Node::Kind::null: return "nothing";
    case Node::Kind::alias: return "an alias, which is not looked up here";
    case Node::Kind::time: break;
    }
    return "a time";
}

std::size_t entry_count(const core::PolicySource& source) {
    std::size_t count = source.pins.size();
    for (const List list : all_lists)
        count += entries_of(source, list).size();
    return count;
}

} // namespace

SchemaReport::SchemaReport(const core::PolicySource& source, std::uint32_t file, Form form,
                           std::size_t max_entries, Diagnostics& diagnostics)
    : file_name_(source.files[file]), file_(file), form_(form),
      left_(max_entries - std::min(max_entries, entry_count(source))), diagnostics_(diagnostics) {}

void SchemaReport::error(Position at, std::string message, std::string hint) {
    ++errors_;
    report(error_at(file_name_, at, std::move(message), std::move(hint)));
}

void SchemaReport::warning(Position at, std::string message, std::string hint) {
    report(warning_at(file_name_, at, std::move(message), std::move(hint)));
}

void SchemaReport::report(Diagnostic diagnostic) {
    if (diagnostics_.size() == max_diagnostics)
        diagnostics_.push_back(error_at(file_name_, {}, "more errors are not shown"));
    else if (diagnostics_.size() < max_diagnostics)
        diagnostics_.push_back(std::move(diagnostic));
}

bool SchemaReport::take_room(Position at) {
    if (left_ > 0) {
        --left_;
        return true;
    }
    if (!std::exchange(full_, true))
        error(at, "too many entries in the policy",
              "cover whole families of modules by patterns in allow.aliases");
    return false;
}

bool SchemaReport::expect(const Node& value, Node::Kind kind, std::string_view expected,
                          std::string_view name, std::string hint) {
    if (value.kind == kind) return true;
    error(value.at, fmt::format("{}: expected {}, found {}", name, expected, describe(value, form_)),
          std::move(hint));
    return false;
}

std::optional<core::Sha256> SchemaReport::read_hash(const Node& value, std::string_view name) {
    if (!expect(value, Node::Kind::string, "a string", name)) return std::nullopt;
    auto hash = core::sha256_from(value.text);
    if (hash) return hash;
    const std::string problem =
        value.text.size() == hash_digits
            ? "holds something else than hexadecimal digits"
            : fmt::format("has {} characters; a SHA-256 has 64 hexadecimal digits", value.text.size());
    error(value.at, fmt::format("{} {}", name, problem),
          "take it from the uncompressed image: sha256sum of the .ko file");
    return std::nullopt;
}

} // namespace kmodguard::config
