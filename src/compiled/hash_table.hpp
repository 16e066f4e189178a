// SPDX-License-Identifier: AGPL-3.0-only
//
// Tables of slots in a compiled file: where an entry with a hash is, if there is one. A slot that is taken
// sends the next entry to the one after it, so a search ends at the first free one; a third of them is free.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace kmodguard::compiled {

/// FNV-1a, which goes on from the hash of a beginning. Files are made from what root installed, and no hash
/// of it is chosen by an attacker to be slow: a token finds slots or finds none.
[[nodiscard]] constexpr std::uint32_t hash_of(std::string_view text, std::uint32_t from = 2166136261U) {
    for (const char c : text)
        from = (from ^ static_cast<unsigned char>(c)) * 16777619U;
    return from;
}

[[nodiscard]] constexpr std::size_t slots_for(std::size_t entries) {
    return entries * 3 / 2 + 1;
}

/// The lowest bits of FNV-1a are its worst.
[[nodiscard]] constexpr std::size_t first_slot(std::uint32_t hash, std::size_t slots) {
    return (hash ^ hash >> 15U) % slots;
}

template <typename Slot, typename IsFree>
[[nodiscard]] std::size_t free_slot(const std::vector<Slot>& slots, std::uint32_t hash, IsFree is_free) {
    std::size_t position = first_slot(hash, slots.size());
    while (!is_free(slots[position]))
        position = (position + 1) % slots.size();
    return position;
}

enum class Probe : std::uint8_t { go_on, stop };

/// Shows `look` one slot after the other in which an entry of that hash may be, each once at most.
template <typename Slot, typename Look>
void probe(std::span<const Slot> slots, std::uint32_t hash, Look look) {
    if (slots.empty()) return;
    std::size_t position = first_slot(hash, slots.size());
    for (std::size_t tried = 0; tried < slots.size(); ++tried) {
        if (look(slots[position]) == Probe::stop) return;
        position = position + 1 == slots.size() ? 0 : position + 1;
    }
}

} // namespace kmodguard::compiled
