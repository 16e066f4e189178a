// SPDX-License-Identifier: AGPL-3.0-only
#include "enforce/guest/symbols/link_base.hpp"

#include <algorithm>
#include <vector>

namespace kmodguard::guest {
namespace {

constexpr std::size_t reach = 64U << 20U;       ///< bytes to either side
constexpr std::size_t max_pointers = 2U << 20U; ///< gathered
constexpr std::size_t max_samples = 4096;       ///< compared with symbols
constexpr std::size_t max_bases = 16384;
constexpr std::size_t fewest_hits = 64;

/// Kernel addresses have their highest bit set, and small negative numbers are none.
bool is_pointer(std::uint64_t value, WordSize size) {
    constexpr std::uint64_t near_end = 1U << 20U;
    if (size == WordSize::bits_32) return (value >> 31U) != 0 && value < (1ULL << 32U) - near_end;
    return (value >> 63U) != 0 && value < UINT64_MAX - near_end;
}

/// All words near `around` that look like a kernel's addresses, ascending.
std::vector<std::uint64_t> gather(const KernelBytes& bytes, WordSize size, std::size_t around) {
    std::vector<std::uint64_t> pointers;
    const auto step = bytes_of(size);
    const auto begin = aligned(around > reach ? around - reach : 0, step);
    const auto end = std::min(bytes.size(), around + reach);
    for (auto at = begin; bytes.has(at, step) && at < end && pointers.size() < max_pointers; at += step) {
        const auto value = bytes.word(at, size);
        if (is_pointer(value, size)) pointers.push_back(value);
    }
    std::ranges::sort(pointers);
    return pointers;
}

/// Those of the most that lie within `span` of each other: pointers into the kernel itself.
std::span<const std::uint64_t> densest(std::span<const std::uint64_t> pointers, std::uint64_t span) {
    std::span<const std::uint64_t> best;
    std::size_t begin = 0;
    for (std::size_t end = 0; end < pointers.size(); ++end) {
        while (pointers[end] - pointers[begin] > span)
            ++begin;
        if (end + 1 - begin > best.size()) best = pointers.subspan(begin, end + 1 - begin);
    }
    return best;
}

std::vector<std::uint64_t> sample(std::span<const std::uint64_t> pointers) {
    std::vector<std::uint64_t> samples;
    const auto step = std::max<std::size_t>(1, pointers.size() / max_samples);
    for (std::size_t i = 0; i < pointers.size() && samples.size() < max_samples; i += step) {
        if (samples.empty() || samples.back() != pointers[i]) samples.push_back(pointers[i]);
    }
    return samples;
}

std::size_t hits(std::span<const std::uint64_t> samples, std::span<const std::uint64_t> distances,
                 std::uint64_t base) {
    return static_cast<std::size_t>(std::ranges::count_if(samples, [&](std::uint64_t pointer) {
        return std::ranges::binary_search(distances, pointer - base);
    }));
}

} // namespace

std::optional<std::uint64_t> find_link_base(const KernelBytes& bytes, WordSize word_size, std::size_t around,
                                            std::span<const std::uint64_t> distances,
                                            std::uint64_t alignment) {
    if (distances.empty()) return std::nullopt;
    const auto span = distances.back();
    const auto pointers = gather(bytes, word_size, around);
    const auto samples = sample(densest(pointers, span));
    if (samples.size() < fewest_hits) return std::nullopt;

    // The base lies at or below the lowest of them, and all of them within `span` of it.
    const auto lowest = samples.back() > span ? samples.back() - span : 0;
    auto base = samples.front() & ~(alignment - 1);
    std::optional<std::uint64_t> best;
    std::size_t best_hits = 0;
    std::size_t second_hits = 0;
    for (std::size_t tries = 0; tries < max_bases && base >= lowest; ++tries, base -= alignment) {
        const auto found = hits(samples, distances, base);
        if (found > best_hits) {
            second_hits = best_hits;
            best_hits = found;
            best = base;
        } else {
            second_hits = std::max(second_hits, found);
        }
        if (base < alignment) break;
    }
    if (best_hits < fewest_hits || best_hits < 2 * second_hits) return std::nullopt;
    return best;
}

} // namespace kmodguard::guest
