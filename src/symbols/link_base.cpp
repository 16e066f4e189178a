// SPDX-License-Identifier: AGPL-3.0-only
//
// Where a kernel is linked to, if nothing in its tables says so. The file of a kernel that moves itself has
// zero where kallsyms_relative_base belongs, and newer kernels have no such base at all. But every kernel is
// full of pointers to its own functions and texts, as they are or as the addends of relocations. So each
// pointer votes for every base under which it points at the beginning of something: the votes for wrong ones
// scatter, those for the right one add up.
#include "symbols/kallsyms.hpp"

#include <algorithm>
#include <span>
#include <string_view>

namespace kmodguard::symbols {
namespace {

constexpr std::uint64_t page = 4096; ///< kernels are linked to, and move by, whole pages at least
/// How far behind the last function a kernel's data end, bytes; real ones take some 20 MiB.
constexpr std::uint64_t max_data = 32U << 20U;

constexpr std::size_t max_gathered = 8U << 20U;   ///< before some are chosen
constexpr std::size_t max_pointers = 32768;       ///< chosen
constexpr std::size_t max_sampled_texts = 50'000; ///< chosen
constexpr std::size_t shortest_text = 8;
constexpr std::size_t max_votes = 16U << 20U;
constexpr std::size_t fewest_votes = 48;

/// Offsets, the end not included.
struct ByteRange {
    std::uint64_t begin;
    std::uint64_t end;
};

/// Addresses, both included.
struct AddressRange {
    std::uint64_t lowest;
    std::uint64_t highest;
};

/// Where kernels lie: the upper half of all addresses, without the end that small negative numbers are.
AddressRange kernel_addresses(WordSize word_size) {
    constexpr std::uint64_t near_end = 1U << 20U;
    if (word_size == WordSize::bits_32) return {1ULL << 31U, UINT32_MAX - near_end};
    return {1ULL << 63U, UINT64_MAX - near_end};
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

/// The words of `bytes` within `where` that are addresses of `range`, ascending and each once: max_pointers
/// of them at most, evenly chosen.
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

/// Where texts begin within `where`, as offsets, ascending: eight printable characters or more, and NUL.
/// max_sampled_texts of them at most, evenly chosen.
std::vector<std::uint64_t> gather_texts(std::span<const std::byte> bytes, ByteRange where) {
    std::vector<std::uint64_t> texts;
    const auto end = std::min<std::uint64_t>(bytes.size(), where.end);
    auto begin = where.begin;
    for (auto at = begin; at < end && texts.size() < max_gathered; ++at) {
        if (is_printable(std::to_integer<char>(bytes[at]))) continue;
        if (bytes[at] == std::byte{0} && at - begin >= shortest_text) texts.push_back(begin);
        begin = at + 1;
    }
    return sample(std::move(texts), max_sampled_texts);
}

/// Whether that many votes are no coincidence. Wrong bases get votes by chance, some hundreds if things are
/// dense; so their number varies with its square root, and six times that is not reached by chance.
bool is_clear(std::size_t most, std::size_t second) {
    const auto lead = most - second;
    return most >= fewest_votes && lead * lead >= 36 * second;
}

/// Sorted. Things at one remainder modulo a page, which no base changes, are what a pointer can point at; a
/// remainder at which hundreds of them begin says little and is left out.
std::vector<std::uint64_t> collect_votes(std::span<const std::uint64_t> pointers,
                                         std::vector<std::uint64_t> distances) {
    const auto residue = [](std::uint64_t value) { return value % page; };
    std::ranges::sort(distances, {}, residue);
    std::vector<std::uint64_t> votes;
    for (const auto pointer : pointers) {
        const auto candidates = std::ranges::equal_range(distances, residue(pointer), {}, residue);
        if (candidates.size() > max_votes / max_pointers) continue;
        for (const auto distance : candidates)
            votes.push_back(pointer - distance);
    }
    std::ranges::sort(votes);
    return votes;
}

/// The base that most pointers vote for, if it is clear which. `distances` are those of the things from it,
/// and it is a multiple of a page.
std::optional<std::uint64_t> find_link_base(std::span<const std::uint64_t> pointers,
                                            std::vector<std::uint64_t> distances) {
    const auto votes = collect_votes(pointers, std::move(distances));
    std::optional<std::uint64_t> best;
    std::size_t most = 0;
    std::size_t second = 0;
    for (auto begin = votes.begin(); begin != votes.end();) {
        const auto end = std::upper_bound(begin, votes.end(), *begin);
        const auto count = static_cast<std::size_t>(end - begin);
        second = std::max(second, std::min(most, count));
        if (count > most) best = *begin;
        most = std::max(most, count);
        begin = end;
    }
    if (!is_clear(most, second)) return std::nullopt;
    return best;
}

bool is_function(std::string_view text) {
    return text.starts_with('t') || text.starts_with('T');
}

/// A symbol whose address is a multiple of a page, by its index in the tables.
std::optional<std::size_t> anchor_of(const KallsymsTables& tables) {
    std::optional<std::size_t> anchor;
    for (std::size_t i = 0; i < tables.texts.size(); ++i) {
        const auto name = std::string_view(tables.texts[i]).substr(1);
        if (name == "_text") return i;
        if (name == "_stext") anchor = i;
    }
    return anchor;
}

/// How far all functions are from `anchor`, ascending and each once.
std::vector<std::uint64_t> function_distances(const KallsymsTables& tables, std::size_t anchor) {
    std::vector<std::uint64_t> distances;
    const auto& values = tables.addresses.values;
    for (std::size_t i = 0; i < values.size(); ++i) {
        if (is_function(tables.texts[i])) distances.push_back(values[i] - values[anchor]);
    }
    sort_unique(distances);
    return distances;
}

/// The values of the first function and the last, as signed numbers.
struct Extent {
    std::int64_t lowest = 0;
    std::int64_t highest = 0;
};

Extent extent_of(const KallsymsTables& tables) {
    std::optional<Extent> extent;
    for (std::size_t i = 0; i < tables.texts.size(); ++i) {
        if (!is_function(tables.texts[i])) continue;
        const auto value = static_cast<std::int64_t>(tables.addresses.values[i]);
        if (!extent) extent = Extent{value, value};
        extent->lowest = std::min(extent->lowest, value);
        extent->highest = std::max(extent->highest, value);
    }
    return extent.value_or(Extent{});
}

/// The bytes that are the kernel's. Place-relative tables say which; otherwise it is as much around the
/// tables as the kernel is long.
ByteRange kernel_range(const KernelBytes& bytes, const KallsymsTables& tables) {
    constexpr std::uint64_t max_length = 256U << 20U;
    const auto [lowest, highest] = extent_of(tables);
    const auto length = static_cast<std::uint64_t>(highest) - static_cast<std::uint64_t>(lowest);
    const auto reach = std::min(length, max_length);
    const auto middle = std::uint64_t{tables.names.begin};
    auto begin = middle > reach ? middle - reach : 0;
    if (tables.addresses.form == AddressForm::place_relative) {
        const auto first = tables.addresses.begin + static_cast<std::uint64_t>(lowest);
        begin = std::max(begin, first < middle ? first : 0);
    }
    return {begin, std::min<std::uint64_t>(bytes.size(), middle + reach + max_data)};
}

std::optional<KernelLocation> locate_by_pointers(const KernelBytes& bytes, const KallsymsTables& tables,
                                                 WordSize word_size) {
    const auto anchor = anchor_of(tables);
    if (!anchor) return std::nullopt;
    const auto pointers =
        gather_pointers(bytes, word_size, kernel_range(bytes, tables), kernel_addresses(word_size));
    const auto address = find_link_base(pointers, function_distances(tables, *anchor));
    if (!address) return std::nullopt;
    return KernelLocation{word_size, *address - tables.addresses.values[*anchor]};
}

/// Place-relative tables are the same for both word sizes.
std::optional<KernelLocation> place_of_movable(const KernelBytes& bytes, const KallsymsTables& tables,
                                               const FileLayout& layout) {
    if (layout.word_size) {
        if (const auto address = layout.map.address_of(tables.addresses.begin))
            return KernelLocation{*layout.word_size, *address};
        return locate_by_pointers(bytes, tables, *layout.word_size);
    }
    for (const auto word_size : {WordSize::bits_64, WordSize::bits_32}) {
        if (const auto location = locate_by_pointers(bytes, tables, word_size)) return location;
    }
    return std::nullopt;
}

} // namespace

FileLayout layout_of(std::span<const std::byte> kernel) {
    modules::MemorySource source(kernel);
    const auto header = modules::read_elf_header(source);
    if (!header) return {};
    const auto segments = read_elf_segments(source, *header);
    return {segments ? AddressMap::of_segments(*segments) : AddressMap{},
            header->format.is_64_bit ? WordSize::bits_64 : WordSize::bits_32};
}

std::optional<KernelLocation> locate_kernel(const KernelBytes& bytes, const KallsymsTables& tables,
                                            const FileLayout& layout) {
    const auto word_size = tables.names.word_size;
    switch (tables.addresses.form) {
    case AddressForm::absolute: return KernelLocation{word_size, 0};
    case AddressForm::place_relative: return place_of_movable(bytes, tables, layout);
    default: break;
    }
    // Zero is what the file of a kernel has that fills it in when it moves itself.
    if (const auto base = bytes.word(tables.addresses.base_at, word_size); base != 0)
        return KernelLocation{word_size, base};
    return locate_by_pointers(bytes, tables, word_size);
}

std::uint64_t address_of(const KallsymsTables& tables, const KernelLocation& location, std::size_t index) {
    const auto& [form, begin, base_at, values, is_fixed] = tables.addresses;
    const auto base = !is_fixed.empty() && is_fixed[index] ? 0 : location.base;
    return (values[index] + base) & highest_address(location.word_size);
}

AddressMap map_of_flat_image(const KernelBytes& bytes, const KallsymsTables& tables,
                             const KernelLocation& location) {
    if (tables.addresses.form == AddressForm::place_relative)
        return AddressMap::of_flat_image(bytes.size(), tables.addresses.begin, location.base);
    const auto [lowest, highest] = extent_of(tables);
    const auto top = highest_address(location.word_size);
    const auto first = (static_cast<std::uint64_t>(lowest) + location.base) & top;
    const auto last = (static_cast<std::uint64_t>(highest) + location.base) & top;
    const auto range = kernel_range(bytes, tables);
    const auto pointers =
        gather_pointers(bytes, location.word_size, range, {first, last + std::min(max_data, top - last)});
    const auto start = find_link_base(pointers, gather_texts(bytes.all(), range));
    return start ? AddressMap::of_flat_image(bytes.size(), 0, *start) : AddressMap{};
}

} // namespace kmodguard::symbols
