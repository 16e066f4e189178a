// SPDX-License-Identifier: AGPL-3.0-only
#include "modules/image_modinfo.hpp"

#include <optional>
#include <ranges>
#include <string_view>

namespace kmodguard::modules {
namespace {

std::string_view as_text(std::span<const std::byte> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// Calls `visit` with each record of a section that ends in a NUL; empty ones are padding and left out.
template <typename Visitor>
void for_each_record(std::string_view section, Visitor visit) {
    while (!section.empty()) {
        const auto end = section.find('\0');
        if (end != 0) visit(section.substr(0, end));
        section.remove_prefix(end + 1);
    }
}

std::optional<std::string_view> value_of(std::string_view record, std::string_view key) {
    if (!record.starts_with(key) || record.size() == key.size() || record[key.size()] != '=')
        return std::nullopt;
    return record.substr(key.size() + 1);
}

std::vector<std::string> split(std::string_view list) {
    std::vector<std::string> parts;
    for (const auto part : std::views::split(list, ',')) {
        if (!part.empty()) parts.emplace_back(std::string_view(part.begin(), part.end()));
    }
    return parts;
}

} // namespace

sys::Result<std::string> read_modinfo_name(std::span<const std::byte> section) {
    const auto text = as_text(section);
    if (!text.ends_with('\0')) return sys::failure(sys::ErrorKind::invalid, ".modinfo is not terminated");
    std::optional<std::string_view> name;
    bool contradictory = false;
    for_each_record(text, [&](std::string_view record) {
        const auto value = value_of(record, "name");
        if (!value) return;
        contradictory = contradictory || (name && *name != *value);
        name = value;
    });
    if (contradictory) return sys::failure(sys::ErrorKind::invalid, ".modinfo has names that differ");
    return std::string(name.value_or(""));
}

sys::Result<Modinfo> read_modinfo(std::span<const std::byte> section) {
    auto name = TRY(read_modinfo_name(section));
    Modinfo modinfo{.name = std::move(name), .vermagic = {}, .aliases = {}, .depends = {}};
    std::optional<std::string_view> vermagic;
    std::optional<std::string_view> depends;
    for_each_record(as_text(section), [&](std::string_view record) {
        if (const auto alias = value_of(record, "alias")) modinfo.aliases.emplace_back(*alias);
        if (!vermagic) vermagic = value_of(record, "vermagic");
        if (!depends) depends = value_of(record, "depends");
    });
    modinfo.vermagic = vermagic.value_or("");
    modinfo.depends = split(depends.value_or(""));
    return modinfo;
}

} // namespace kmodguard::modules
