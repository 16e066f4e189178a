// SPDX-License-Identifier: AGPL-3.0-only
#include "enforce/guest/load_info.hpp"

namespace kmodguard::guest {
namespace {

constexpr std::uint64_t most_bytes = 1ULL << 31U; // no kernel takes more from one call

bool is_image(std::uint64_t address, std::uint64_t size, std::uint64_t kernel_base) {
    return address >= kernel_base && size < most_bytes;
}

} // namespace

std::optional<LoadInfo> load_info_from(std::span<const std::uint64_t, load_info_words> words,
                                       std::uint8_t word, std::uint64_t kernel_base) {
    // Since Linux 4.20: name, mod, hdr, len. name and mod are set later.
    if (words[0] == 0 && words[1] == 0) {
        if (!is_image(words[2], words[3], kernel_base)) return std::nullopt;
        return LoadInfo{.image = words[2], .size = words[3], .size_member = std::uint64_t{3} * word};
    }
    // Before: hdr, len, sechdrs, secstrings (3.x), or name before them (4.18), which is still 0.
    if (words[0] != 0 && is_image(words[0], words[1], kernel_base))
        return LoadInfo{.image = words[0], .size = words[1], .size_member = word};
    if (words[0] == 0 && is_image(words[1], words[2], kernel_base))
        return LoadInfo{.image = words[1], .size = words[2], .size_member = std::uint64_t{2} * word};
    return std::nullopt;
}

} // namespace kmodguard::guest
