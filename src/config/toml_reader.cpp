// SPDX-License-Identifier: AGPL-3.0-only
#include "config/toml_reader.hpp"

#include "config/toml_scan.hpp"
#include "config/tomlplusplus.hpp" // last: it switches assertions off
#include "core/names.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

namespace kmodguard::config {
namespace {

static_assert(TOML_MAX_NESTED_VALUES == max_document_depth);

constexpr std::size_t max_toml_message = 400;

Position position_of(const toml::source_region& region) {
    return {region.begin.line, region.begin.column};
}

std::string text_of(const toml::date& date) {
    return fmt::format("{:04}-{:02}-{:02}", date.year, date.month, date.day);
}

std::string text_of(const toml::time& time) {
    std::string text = fmt::format("{:02}:{:02}:{:02}", time.hour, time.minute, time.second);
    if (time.nanosecond == 0) return text;
    text += fmt::format(".{:09}", time.nanosecond);
    text.erase(text.find_last_not_of('0') + 1);
    return text;
}

std::string text_of(const toml::date_time& when) {
    std::string text = text_of(when.date) + "T" + text_of(when.time);
    if (!when.offset) return text;
    const int minutes = when.offset->minutes;
    if (minutes == 0) return text + "Z";
    const int size = minutes < 0 ? -minutes : minutes;
    return text + fmt::format("{}{:02}:{:02}", minutes < 0 ? '-' : '+', size / 60, size % 60);
}

Node convert(const toml::node& source);

void convert_table(const toml::table& source, Node& node) {
    node.kind = Node::Kind::table;
    node.members.reserve(source.size());
    for (const auto& [key, value] : source)
        node.members.push_back({std::string(key.str()), position_of(key.source()), convert(value)});
    std::ranges::sort(node.members, {}, &Member::at);
}

void convert_array(const toml::array& source, Node& node) {
    node.kind = Node::Kind::array;
    node.items.reserve(source.size());
    for (const toml::node& item : source)
        node.items.push_back(convert(item));
}

/// Recursion is bounded by what check_shape lets pass.
Node convert(const toml::node& source) {
    Node node;
    node.at = position_of(source.source());
    if (const auto* table = source.as_table()) {
        convert_table(*table, node);
    } else if (const auto* array = source.as_array()) {
        convert_array(*array, node);
    } else if (const auto* string = source.as_string()) {
        node.kind = Node::Kind::string;
        node.text = string->get();
    } else if (const auto* integer = source.as_integer()) {
        node.kind = Node::Kind::integer;
        node.integer = integer->get();
    } else if (const auto* boolean = source.as_boolean()) {
        node.kind = Node::Kind::boolean;
        node.boolean = boolean->get();
    } else if (const auto* when = source.as_date_time()) {
        node.kind = Node::Kind::date_time;
        node.text = text_of(when->get());
    } else if (const auto* date = source.as_date()) {
        node.kind = Node::Kind::date;
        node.text = text_of(date->get());
    } else {
        node.kind = source.is_time() ? Node::Kind::time : Node::Kind::floating;
    }
    return node;
}

Diagnostic whole_file_error(const std::string& file, std::string message, std::string hint) {
    return {Severity::error, file, 0, 0, std::move(message), std::move(hint)};
}

/// Refuses what the parser could take too long or nest too deep for.
std::optional<Diagnostic> check_shape(std::string_view text, const std::string& file) {
    if (const std::size_t nul = text.find('\0'); nul != nowhere) {
        const auto line = 1 + std::ranges::count(text.substr(0, nul), '\n');
        const auto column = 1 + nul - line_begin(text, nul);
        return Diagnostic{Severity::error,
                          file,
                          static_cast<unsigned>(line),
                          static_cast<unsigned>(column),
                          "a NUL byte: this is not a text file",
                          "restore the file from a backup, or write a new one with `kmodctl init --force`"};
    }
    const Census census = take_census(text);
    if (std::max({census.commas, census.brackets, census.equals}) > max_document_values)
        return whole_file_error(file, fmt::format("more than {} values", max_document_values),
                                "cover whole families of modules by patterns in allow.aliases");
    if (census.dots > max_document_dots)
        return whole_file_error(file, "too many dotted keys: this is not a policy file",
                                "use the tables [allow] and [deny]");
    return std::nullopt;
}

/// "Error while parsing string: encountered end-of-file" in the words of a policy file.
std::string message_of(const toml::parse_error& error) {
    static constexpr std::string_view prefix = "Error while parsing ";
    std::string_view description = error.description();
    if (!description.starts_with(prefix))
        return "not TOML: " + core::printable(description, max_toml_message);
    description.remove_prefix(prefix.size());
    const std::size_t colon = description.find(": ");
    if (colon == nowhere) return "not TOML: " + core::printable(description, max_toml_message);
    return fmt::format("not TOML: {} (in a {})",
                       core::printable(description.substr(colon + 2), max_toml_message),
                       description.substr(0, colon));
}

} // namespace

std::expected<Node, Diagnostic> read_toml(std::string_view text, const std::string& shown_name) {
    if (auto misfit = check_shape(text, shown_name)) return std::unexpected(std::move(*misfit));
    const toml::parse_result result = toml::parse(text);
    if (!result) {
        const Position at = position_of(result.error().source());
        return std::unexpected(
            Diagnostic{Severity::error, shown_name, at.line, at.column, message_of(result.error()),
                       "strings stand in quotes, entries of a list are separated by commas"});
    }
    return convert(result.table());
}

} // namespace kmodguard::config
