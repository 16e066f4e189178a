// SPDX-License-Identifier: AGPL-3.0-only
#include "core/names.hpp"

#include <algorithm>
#include <array>
#include <numeric>
#include <utility>

namespace kmodguard::core {
namespace {

constexpr std::array<std::string_view, 4> image_suffixes = {".ko", ".ko.xz", ".ko.zst", ".ko.gz"};

constexpr std::string_view name_characters =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.+";

/// Whether `text` begins with a control character: C0, DEL, or C1 (U+0080 to U+009F), of which some terminals
/// take U+009B for ESC [.
bool begins_with_control(std::string_view text) {
    const auto first = static_cast<unsigned char>(text.front());
    return first < 0x20 || first == 0x7F
           || (first == 0xC2 && text.size() > 1 && static_cast<unsigned char>(text[1]) < 0xA0);
}

} // namespace

std::string fold(std::string_view text) {
    std::string folded(text);
    std::ranges::replace(folded, '-', '_');
    return folded;
}

std::string fold_pattern(std::string_view pattern) {
    std::string folded(pattern);
    bool in_brackets = false;
    for (char& c : folded) {
        if (c == '[')
            in_brackets = true;
        else if (c == ']')
            in_brackets = false;
        else if (c == '-' && !in_brackets)
            c = '_';
    }
    return folded;
}

bool is_module_name(std::string_view name) {
    return !name.empty() && name.size() <= max_module_name && name.front() != '.'
           && name.find_first_not_of(name_characters) == std::string_view::npos;
}

std::optional<std::string> module_name_of(std::string_view path) {
    std::string_view name = path;
    if (const auto slash = name.rfind('/'); slash != std::string_view::npos) name.remove_prefix(slash + 1);
    const auto suffix =
        std::ranges::find_if(image_suffixes, [name](std::string_view one) { return name.ends_with(one); });
    if (suffix != image_suffixes.end()) name.remove_suffix(suffix->size());
    std::string folded = fold(name);
    if (!is_module_name(folded)) return std::nullopt;
    return folded;
}

bool is_token(std::string_view token) {
    if (token.empty() || token.size() > max_token || token.front() == '-') return false;
    const auto is_plain = [](char c) { return c >= ' ' && c < '\x7f'; };
    while (!token.empty()) {
        const bool plain = is_plain(token.front()); // as nearly all are
        const std::size_t length = plain ? 1 : first_character(token).length;
        if (length == 0 || (!plain && begins_with_control(token))) return false;
        token.remove_prefix(length);
    }
    return true;
}

std::string printable(std::string_view text, std::size_t limit) {
    std::string shown;
    while (!text.empty()) {
        if (shown.size() >= limit) return shown + "...";
        const std::size_t length = begins_with_control(text) ? 0 : first_character(text).length;
        if (length > 0) {
            shown += text.substr(0, length);
            text.remove_prefix(length);
        } else {
            const auto byte = static_cast<unsigned char>(text.front());
            shown += "\\x" + to_hex({&byte, 1});
            text.remove_prefix(1);
        }
    }
    return shown;
}

Character first_character(std::string_view text) {
    if (text.empty()) return {};
    const auto byte = [text](std::size_t i) -> char32_t {
        return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U;
    };
    const char32_t lead = byte(0);
    if (lead < 0x80) return {lead, 1};
    const std::size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
    if (lead < 0xC2 || lead > 0xF4) return {};
    char32_t code = lead & (0x7FU >> length);
    for (std::size_t i = 1; i < length; ++i) {
        if ((byte(i) & 0xC0U) != 0x80U) return {};
        code = (code << 6U) | (byte(i) & 0x3FU);
    }
    const bool overlong = (length == 3 && code < 0x800) || (length == 4 && code < 0x10000);
    const bool surrogate = code >= 0xD800 && code <= 0xDFFF;
    if (overlong || surrogate || code > 0x10FFFF) return {};
    return {code, length};
}

std::string to_hex(std::span<const std::uint8_t> bytes) {
    static constexpr std::string_view digits = "0123456789abcdef";
    std::string hex;
    hex.reserve(bytes.size() * 2);
    for (const std::uint8_t byte : bytes)
        hex += {digits[byte >> 4U], digits[byte & 15U]};
    return hex;
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
    std::vector<std::size_t> row(b.size() + 1);
    std::iota(row.begin(), row.end(), std::size_t{0});
    for (std::size_t i = 0; i < a.size(); ++i) {
        std::size_t diagonal = std::exchange(row[0], i + 1);
        for (std::size_t j = 0; j < b.size(); ++j) {
            const std::size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
            diagonal = row[j + 1];
            row[j + 1] = std::min({replaced, row[j] + 1, row[j + 1] + 1});
        }
    }
    return row.back();
}

std::string first_of(const std::vector<std::string>& names) {
    constexpr std::size_t max_named = 8;
    std::string text;
    for (std::size_t i = 0; i < std::min(names.size(), max_named); ++i)
        text += (i > 0 ? ", " : "") + names[i];
    return names.size() > max_named ? text + ", ..." : text;
}

} // namespace kmodguard::core
