// SPDX-License-Identifier: AGPL-3.0-only
#include "gdb/target_description.hpp"

#include "sys/number.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

namespace kmodguard::gdb {
namespace {

std::unexpected<sys::Error> unusable(std::string_view which) {
    return sys::failure(sys::ErrorKind::invalid, fmt::format("a target description {}", which));
}

constexpr std::string_view white_space = " \t\r\n";

struct Tag {
    std::string_view name;       ///< "/reg" for an end tag
    std::string_view attributes; ///< what is behind the name
};

/// Takes everything up to and with `end` off the front of `text`, and returns it without `end`.
std::optional<std::string_view> take_until(std::string_view& text, std::string_view end) {
    const std::size_t position = text.find(end);
    if (position == std::string_view::npos) return std::nullopt;
    const std::string_view taken = text.substr(0, position);
    text.remove_prefix(position + end.size());
    return taken;
}

/// Where the `>` of a tag is: not inside a quoted value, which may hold one.
std::size_t end_of_tag(std::string_view text) {
    char quote = '\0';
    for (std::size_t i = 0; i < text.size(); ++i) {
        const char byte = text[i];
        if (quote != '\0') {
            if (byte == quote) quote = '\0';
        } else if (byte == '"' || byte == '\'') {
            quote = byte;
        } else if (byte == '>') {
            return i;
        }
    }
    return std::string_view::npos;
}

/// The next tag, past text, comments, CDATA and processing instructions. nullopt: there is none left.
sys::Result<std::optional<Tag>> next_tag(std::string_view& xml) {
    constexpr std::string_view broken_off = "that is broken off";
    while (take_until(xml, "<")) {
        if (xml.starts_with("!--")) {
            xml.remove_prefix(3);
            if (!take_until(xml, "-->")) return unusable(broken_off);
        } else if (xml.starts_with("![CDATA[")) {
            if (!take_until(xml, "]]>")) return unusable(broken_off);
        } else if (xml.starts_with("?")) {
            if (!take_until(xml, "?>")) return unusable(broken_off);
        } else {
            const std::size_t end = end_of_tag(xml);
            if (end == std::string_view::npos) return unusable(broken_off);
            const std::string_view inside = xml.substr(0, end);
            xml.remove_prefix(end + 1);
            if (inside.starts_with('!')) continue; // <!DOCTYPE ...>
            const std::size_t name = std::min(inside.find_first_of(" \t\r\n/", 1), inside.size());
            return Tag{.name = inside.substr(0, name), .attributes = inside.substr(name)};
        }
    }
    return std::nullopt;
}

void skip(std::string_view& text, std::string_view characters) {
    text.remove_prefix(std::min(text.find_first_not_of(characters), text.size()));
}

/// The value of an attribute, as it is written. nullopt: the tag does not have it.
std::optional<std::string_view> attribute(std::string_view attributes, std::string_view wanted) {
    while (true) {
        skip(attributes, " \t\r\n/");
        const std::size_t name_end = attributes.find_first_of(" \t\r\n=");
        if (name_end == std::string_view::npos) return std::nullopt;
        const std::string_view name = attributes.substr(0, name_end);
        attributes.remove_prefix(name_end);
        skip(attributes, white_space);
        if (!attributes.starts_with('=')) return std::nullopt;
        attributes.remove_prefix(1);
        skip(attributes, white_space);
        if (!attributes.starts_with('"') && !attributes.starts_with('\'')) return std::nullopt;
        const std::string_view quote = attributes.substr(0, 1);
        attributes.remove_prefix(1);
        const auto value = take_until(attributes, quote);
        if (!value || name == wanted) return value;
    }
}

/// A name that can be asked for in a packet: no separators, nothing that a terminal would act on.
bool is_document_name(std::string_view name) {
    return !name.empty() && name.size() <= max_description_name && std::ranges::all_of(name, [](char byte) {
        return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || (byte >= '0' && byte <= '9')
               || byte == '-' || byte == '_' || byte == '.';
    });
}

} // namespace

sys::Result<std::vector<std::string>> TargetDescription::add_document(std::string_view xml) {
    if (xml.size() > max_description) return unusable(fmt::format("of more than {} bytes", max_description));
    std::vector<std::string> included;
    while (true) {
        const auto tag = TRY(next_tag(xml));
        if (!tag) return included;
        if (tag->name == "reg") {
            TRY(add_register(tag->attributes));
        } else if (tag->name == "xi:include") {
            const auto name = attribute(tag->attributes, "href");
            if (!name || !is_document_name(*name))
                return unusable("that includes a document without a usable name");
            if (included.size() == max_documents)
                return unusable(fmt::format("of more than {} documents", max_documents));
            included.emplace_back(*name);
        }
    }
}

sys::Result<void> TargetDescription::add_register(std::string_view attributes) {
    if (++seen_ > max_described_registers)
        return unusable(fmt::format("of more than {} registers", max_described_registers));
    const auto name = attribute(attributes, "name");
    const auto bits = sys::number_in<std::uint32_t>(attribute(attributes, "bitsize").value_or(""));
    if (!name || name->empty() || name->size() > max_description_name || !bits)
        return unusable("with a register without a usable name and size");
    if (const auto text = attribute(attributes, "regnum")) {
        const auto number = sys::number_in<std::uint32_t>(*text);
        if (!number) return unusable("with a register number that is none");
        next_number_ = *number;
    }
    if (next_number_ > std::numeric_limits<std::uint16_t>::max())
        return unusable("with a register number over 65535");
    const Register one{.number = static_cast<std::uint16_t>(next_number_++),
                       .size = static_cast<std::uint8_t>(*bits / 8)};
    if (*bits >= 8 && *bits <= 64 && *bits % 8 == 0) registers_.try_emplace(std::string(*name), one);
    return {};
}

std::optional<Register> TargetDescription::find(std::string_view name) const {
    const auto found = registers_.find(name);
    if (found == registers_.end()) return std::nullopt;
    return found->second;
}

} // namespace kmodguard::gdb
