// SPDX-License-Identifier: AGPL-3.0-only
#include "symbols/kernel_location.hpp"

#include "symbols/link_base.hpp"

#include <algorithm>
#include <string_view>

namespace kmodguard::symbols {
namespace {

constexpr std::uint64_t page = 4096; ///< kernels are linked to, and move by, whole pages at least
/// How far behind the last function a kernel's data end, bytes; real ones take some 20 MiB.
constexpr std::uint64_t max_data = 32U << 20U;

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
    std::ranges::sort(distances);
    const auto doubles = std::ranges::unique(distances);
    distances.erase(doubles.begin(), doubles.end());
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
    const auto address = find_link_base(pointers, function_distances(tables, *anchor), page);
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
    const auto start = find_link_base(pointers, gather_texts(bytes.all(), range), page);
    return start ? AddressMap::of_flat_image(bytes.size(), 0, *start) : AddressMap{};
}

} // namespace kmodguard::symbols
