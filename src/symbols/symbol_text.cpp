// SPDX-License-Identifier: AGPL-3.0-only
#include "symbols/symbols.hpp"
#include "sys/number.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>

namespace kmodguard::symbols {
namespace {

constexpr std::string_view blanks = " \t\r";

struct Line {
    std::string_view address; ///< hexadecimal digits; empty for an undefined symbol
    std::uint64_t value = 0;
    char type = 0;
    std::string_view name;
    std::string_view rest; ///< "[module]", or nothing
};

std::string_view take_line(std::string_view& text) {
    const auto end = text.find('\n');
    const auto line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    return line;
}

std::string_view take_word(std::string_view& line) {
    line.remove_prefix(std::min(line.find_first_not_of(blanks), line.size()));
    const auto word = line.substr(0, line.find_first_of(blanks));
    line.remove_prefix(word.size());
    return word;
}

bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/// As nm prints it: a letter, "?" for what it does not know, "-" for a debugger's.
bool is_type(std::string_view word) {
    return word.size() == 1 && (is_letter(word[0]) || word[0] == '?' || word[0] == '-');
}

/// Eight hexadecimal digits of a 32-bit kernel, sixteen of a 64-bit one; some tools leave zeros out.
std::optional<std::uint64_t> parse_address(std::string_view word) {
    if (word.size() < 8 || word.size() > 16) return std::nullopt;
    return sys::number_in<std::uint64_t>(word, 16);
}

std::optional<Line> parse_line(std::string_view text) {
    Line line;
    auto word = take_word(text);
    if (!is_type(word)) { // of an undefined symbol nm prints no address
        const auto address = parse_address(word);
        if (!address) return std::nullopt;
        line.value = *address;
        line.address = word;
        word = take_word(text);
    }
    if (!is_type(word)) return std::nullopt;
    line.type = word[0];
    line.name = take_word(text);
    if (line.name.empty() || line.name.size() > SymbolsBuilder::max_name) return std::nullopt;
    line.rest = take_word(text);
    return line;
}

bool is_stub(std::string_view text) {
    const auto line = take_line(text);
    return line.find("The real System.map is in") != std::string_view::npos;
}

/// What a text amounts to.
struct Reading {
    SymbolsBuilder builder;
    bool any_address = false;
    bool any_line = false;
};

/// False if that is one symbol too many.
bool read_line(Reading& reading, const Line& line) {
    if (line.address.empty() || line.type == 'U') return true;
    if (!reading.any_line)
        reading.builder.set_word_size(line.address.size() > 8 ? WordSize::bits_64 : WordSize::bits_32);
    reading.any_line = true;
    reading.any_address = reading.any_address || line.value != 0;
    return line.rest.starts_with('[') || reading.builder.add(line.name, line.value);
}

} // namespace

bool is_symbol_text(std::string_view text) {
    constexpr std::size_t max_beginning = 4096;
    const auto beginning = text.substr(0, max_beginning);
    auto rest = beginning;
    return is_stub(beginning) || parse_line(take_line(rest)).has_value();
}

sys::Result<Symbols> parse_symbol_text(std::string_view text, std::string_view label) {
    using sys::ErrorKind;
    if (is_stub(text))
        return sys::failure(
            ErrorKind::invalid,
            fmt::format("{} is a stub without symbols: the real System.map is in another package", label),
            "give the kernel image itself (vmlinuz): its symbols can be recovered; or install the "
            "linux-image-...-dbg package and give its System.map");
    Reading reading;
    for (std::size_t number = 1; !text.empty(); ++number) {
        const auto content = take_line(text);
        if (content.find_first_not_of(blanks) == std::string_view::npos) continue;
        const auto line = parse_line(content);
        if (!line)
            return sys::failure(ErrorKind::invalid,
                                fmt::format("{}: line {} is not \"ADDRESS TYPE NAME\"", label, number),
                                "give System.map or a complete copy of the guest's /proc/kallsyms");
        if (!read_line(reading, *line))
            return sys::failure(ErrorKind::invalid,
                                fmt::format("{}: more than {} symbols", label, SymbolsBuilder::max_symbols));
    }
    if (reading.any_line && !reading.any_address)
        return sys::failure(
            ErrorKind::denied,
            fmt::format("{} has only zero addresses: the kernel hid them from its reader", label),
            "copy /proc/kallsyms as root, after `sysctl kernel.kptr_restrict=0`; or give the kernel image");
    if (reading.builder.count() == 0)
        return sys::failure(ErrorKind::invalid, fmt::format("{} has no symbols of the kernel itself", label),
                            "give System.map, the guest's /proc/kallsyms, or its kernel image");
    return reading.builder.finish(std::string(label));
}

} // namespace kmodguard::symbols
