// SPDX-License-Identifier: AGPL-3.0-only
#include "symbols/link_base.hpp"

#include <algorithm>

namespace kmodguard::symbols {
namespace {

constexpr std::size_t max_gathered = 8U << 20U;   ///< before some are chosen
constexpr std::size_t max_pointers = 32768;       ///< chosen
constexpr std::size_t max_sampled_texts = 50'000; ///< chosen
constexpr std::size_t shortest_text = 8;
constexpr std::size_t max_votes = 16U << 20U;
constexpr std::size_t fewest_votes = 48;

bool is_printable(std::byte byte) {
    return byte >= std::byte{' '} && byte <= std::byte{'~'};
}

void sort_unique(std::vector<std::uint64_t>& values) {
    std::ranges::sort(values);
    const auto doubles = std::ranges::unique(values);
    values.erase(doubles.begin(), doubles.end());
}

/// At most `count` of `values`, evenly chosen.
std::vector<std::uint64_t> sample(std::vector<std::uint64_t> values, std::size_t count) {
    if (values.size() <= count) return values;
    for (std::size_t i = 0; i < count; ++i)
        values[i] = values[i * values.size() / count];
    values.resize(count);
    return values;
}

/// Distances by their remainder modulo `alignment`, which no base changes.
class ByResidue {
  public:
    ByResidue(std::span<const std::uint64_t> distances, std::uint64_t alignment)
        : alignment_(alignment), sorted_(distances.begin(), distances.end()), begins_(alignment + 1) {
        std::ranges::sort(sorted_, {}, [this](std::uint64_t value) { return residue(value); });
        for (const auto distance : sorted_)
            ++begins_[residue(distance) + 1];
        for (std::size_t i = 1; i < begins_.size(); ++i)
            begins_[i] += begins_[i - 1];
    }

    [[nodiscard]] std::span<const std::uint64_t> of(std::uint64_t pointer) const {
        const auto at = residue(pointer);
        return std::span(sorted_).subspan(begins_[at], begins_[at + 1] - begins_[at]);
    }

  private:
    [[nodiscard]] std::size_t residue(std::uint64_t value) const { return value % alignment_; }

    std::uint64_t alignment_;
    std::vector<std::uint64_t> sorted_;
    std::vector<std::size_t> begins_; ///< in sorted_, by residue
};

/// Whether that many votes are no coincidence. Wrong bases get votes by chance, some hundreds if things are
/// dense; so their number varies with its square root, and six times that is not reached by chance.
bool is_clear(std::size_t most, std::size_t second) {
    const auto lead = most - second;
    return most >= fewest_votes && lead * lead >= 36 * second;
}

/// Sorted. A remainder at which hundreds of things begin says little and is left out.
std::vector<std::uint64_t> collect_votes(std::span<const std::uint64_t> pointers,
                                         const ByResidue& by_residue) {
    std::vector<std::uint64_t> votes;
    for (const auto pointer : pointers) {
        const auto candidates = by_residue.of(pointer);
        if (candidates.size() > max_votes / max_pointers) continue;
        for (const auto distance : candidates)
            votes.push_back(pointer - distance);
    }
    std::ranges::sort(votes);
    return votes;
}

} // namespace

AddressRange kernel_addresses(WordSize word_size) {
    constexpr std::uint64_t near_end = 1U << 20U;
    if (word_size == WordSize::bits_32) return {1ULL << 31U, UINT32_MAX - near_end};
    return {1ULL << 63U, UINT64_MAX - near_end};
}

std::vector<std::uint64_t> gather_pointers(const KernelBytes& bytes, WordSize word_size, ByteRange where,
                                           AddressRange range) {
    std::vector<std::uint64_t> pointers;
    const auto step = bytes_of(word_size);
    for (auto at = aligned(where.begin, step);
         at < where.end && bytes.has(at, step) && pointers.size() < max_gathered; at += step) {
        const auto value = bytes.word(at, word_size);
        if (value >= range.lowest && value <= range.highest) pointers.push_back(value);
    }
    sort_unique(pointers);
    return sample(std::move(pointers), max_pointers);
}

std::vector<std::uint64_t> gather_texts(std::span<const std::byte> bytes, ByteRange where) {
    std::vector<std::uint64_t> texts;
    const auto end = std::min<std::uint64_t>(bytes.size(), where.end);
    auto begin = where.begin;
    for (auto at = begin; at < end && texts.size() < max_gathered; ++at) {
        if (is_printable(bytes[at])) continue;
        if (bytes[at] == std::byte{0} && at - begin >= shortest_text) texts.push_back(begin);
        begin = at + 1;
    }
    return sample(std::move(texts), max_sampled_texts);
}

std::optional<std::uint64_t> find_link_base(std::span<const std::uint64_t> pointers,
                                            std::span<const std::uint64_t> distances,
                                            std::uint64_t alignment) {
    const auto votes = collect_votes(pointers, ByResidue(distances, alignment));
    std::optional<std::uint64_t> best;
    std::size_t most = 0;
    std::size_t second = 0;
    for (std::size_t begin = 0; begin < votes.size();) {
        auto end = begin;
        while (end < votes.size() && votes[end] == votes[begin])
            ++end;
        if (end - begin > most) {
            second = most;
            most = end - begin;
            best = votes[begin];
        } else {
            second = std::max(second, end - begin);
        }
        begin = end;
    }
    if (!is_clear(most, second)) return std::nullopt;
    return best;
}

} // namespace kmodguard::symbols
