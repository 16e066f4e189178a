// SPDX-License-Identifier: AGPL-3.0-only
#include "events/json_text.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <utility>

namespace kmodguard::events {
namespace {

constexpr std::string_view replacement = "\xEF\xBF\xBD"; // U+FFFD

/// Bytes that stand for themselves in a text.
constexpr std::array<bool, 256> plain = [] {
    std::array<bool, 256> bytes{};
    for (std::size_t byte = 0x20; byte < 0x80; ++byte)
        bytes.at(byte) = byte != '"' && byte != '\\';
    return bytes;
}();

bool is_plain(char c) {
    return plain[static_cast<unsigned char>(c)]; // NOLINT(*-constant-array-index): there is one for each byte
}

struct Sequence {
    std::size_t length = 1;
    bool is_character = false;
};

/// The character that `text`, whose first byte is over 0x7F, begins with, or else the longest beginning of
/// one.
Sequence first_sequence(std::string_view text) {
    const auto byte = [text](std::size_t i) -> unsigned { return static_cast<unsigned char>(text[i]); };
    const unsigned lead = byte(0);
    if (lead < 0xC2 || lead > 0xF4) return {};
    const std::size_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    // Of the second byte, so that there is one form of each character, and no surrogate.
    const unsigned lowest = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    const unsigned highest = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    for (std::size_t i = 1; i < length; ++i) {
        const bool fits = i < text.size()
                          && (i == 1 ? byte(i) >= lowest && byte(i) <= highest : (byte(i) & 0xC0U) == 0x80U);
        if (!fits) return {i, false};
    }
    return {length, true};
}

void append_escaped(std::string& to, unsigned char c) {
    static constexpr std::string_view digits = "0123456789abcdef";
    static constexpr std::string_view short_forms = "\"\"\\\\\bb\tt\nn\ff\rr";
    for (std::size_t i = 0; i < short_forms.size(); i += 2)
        if (static_cast<unsigned char>(short_forms[i]) == c) {
            to += {'\\', short_forms[i + 1]};
            return;
        }
    to += {'\\', 'u', '0', '0', digits[c >> 4U], digits[c & 15U]};
}

void append_quoted(std::string& to, std::string_view text) {
    to += '"';
    while (!text.empty()) {
        const std::size_t run =
            static_cast<std::size_t>(std::ranges::find_if_not(text, is_plain) - text.begin());
        to += text.substr(0, run);
        text.remove_prefix(run);
        if (text.empty()) break;
        const auto byte = static_cast<unsigned char>(text.front());
        const Sequence sequence = byte < 0x80 ? Sequence{} : first_sequence(text);
        if (byte < 0x80)
            append_escaped(to, byte);
        else
            to += sequence.is_character ? text.substr(0, sequence.length) : replacement;
        text.remove_prefix(sequence.length);
    }
    to += '"';
}

} // namespace

void JsonText::before_value() {
    if (std::exchange(follows_, true)) to_ += ',';
    if (name_.data() == nullptr) return;
    append_quoted(to_, std::exchange(name_, {}));
    to_ += ':';
}

void JsonText::null() {
    before_value();
    to_ += "null";
}

void JsonText::boolean(bool value) {
    before_value();
    to_ += value ? "true" : "false";
}

void JsonText::number(std::int64_t value) {
    before_value();
    std::array<char, std::numeric_limits<std::int64_t>::digits10 + 2> digits{};
    char* end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
    to_.append(digits.data(), end);
}

void JsonText::text(std::string_view value) {
    before_value();
    append_quoted(to_, value);
}

void JsonText::begin(char bracket) {
    before_value();
    to_ += bracket;
    follows_ = false;
}

void JsonText::end(char bracket) {
    to_ += bracket;
    follows_ = true;
    name_ = {}; // of a value that did not come
}

} // namespace kmodguard::events
