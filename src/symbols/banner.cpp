// SPDX-License-Identifier: AGPL-3.0-only
#include "symbols/banner.hpp"

#include "symbols/kernel_bytes.hpp"

#include <algorithm>
#include <string_view>

namespace kmodguard::symbols {
namespace {

constexpr std::string_view beginning = "Linux version ";
constexpr std::size_t max_banners = 64;

bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

bool is_printable(char c) {
    return c >= ' ' && c <= '~';
}

} // namespace

std::optional<std::string> banner_text(std::span<const std::byte> bytes) {
    const auto text = as_text(bytes.first(std::min<std::size_t>(bytes.size(), max_banner)));
    const auto end = text.find('\n');
    if (!text.starts_with(beginning) || end == std::string_view::npos || end + 1 >= text.size()
        || text[end + 1] != '\0')
        return std::nullopt;
    const auto line = text.substr(0, end);
    // A first, provisional one in newer kernels has no number of the build: "# SMP" for "#1 SMP".
    const auto build = line.rfind('#');
    if (!is_digit(line[beginning.size()]) || build == std::string_view::npos || build + 1 == line.size()
        || !is_digit(line[build + 1]) || !std::ranges::all_of(line, is_printable))
        return std::nullopt;
    return std::string(line);
}

std::vector<std::size_t> find_banners(std::span<const std::byte> bytes) {
    std::vector<std::size_t> found;
    std::size_t from = 0;
    while (const auto at = find_bytes(bytes, beginning, from)) {
        if (banner_text(bytes.subspan(*at))) found.push_back(*at);
        if (found.size() == max_banners) break;
        from = *at + 1;
    }
    return found;
}

} // namespace kmodguard::symbols
