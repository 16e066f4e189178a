// SPDX-License-Identifier: AGPL-3.0-only
//
// What load_module() of the guest's kernel is about to load. Its first argument is a struct load_info
// (kernel/module/internal.h, before Linux 5.19 kernel/module.c), of which only two members matter: where the
// copy of the image is, and how long it is. Their place has changed once.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

namespace kmodguard::guest {

struct LoadInfo {
    std::uint64_t image = 0;       ///< address in the kernel's memory
    std::uint64_t size = 0;        ///< bytes
    std::uint64_t size_member = 0; ///< offset of the member that has it, bytes
};

/// How many words from its beginning are looked at.
inline constexpr std::size_t load_info_words = 4;

/// Finds the two members in the first words of a struct load_info at the entry of load_module(), where all
/// that the kernel itself finds out about the image is still 0. `word` is the size of a word and
/// `kernel_base` the lowest address of the kernel. nullopt: no layout that is known.
[[nodiscard]] std::optional<LoadInfo> load_info_from(std::span<const std::uint64_t, load_info_words> words,
                                                     std::uint8_t word, std::uint64_t kernel_base);

} // namespace kmodguard::guest
