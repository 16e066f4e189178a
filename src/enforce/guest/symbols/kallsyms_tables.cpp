// SPDX-License-Identifier: AGPL-3.0-only
#include "enforce/guest/symbols/kallsyms_tables.hpp"

#include "enforce/guest/symbols/address_map.hpp"
#include "enforce/guest/symbols/banner.hpp"
#include "enforce/guest/symbols/kallsyms_addresses.hpp"
#include "enforce/guest/symbols/kallsyms_names.hpp"
#include "enforce/guest/symbols/kallsyms_tokens.hpp"
#include "enforce/guest/symbols/link_base.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string>
#include <utility>

namespace kmodguard::guest {
namespace {

constexpr std::uint64_t search_steps = 400'000'000; ///< some seconds
constexpr int max_token_tables = 16;                ///< in memory there may be a stale one
constexpr std::size_t fewest_symbols = 1000;
constexpr std::uint64_t page = 4096; ///< kernels are linked to, and move by, whole pages at least

std::unexpected<sys::Error> unusable(std::string why) {
    return sys::failure(sys::ErrorKind::invalid, "cannot recover the kernel's symbols: " + std::move(why),
                        "give the kernel's System.map, or a copy of the guest's /proc/kallsyms");
}

/// What the file says of itself, if it is an ELF file.
struct FileLayout {
    AddressMap map;
    std::optional<WordSize> word_size;
};

FileLayout layout_of(std::span<const std::byte> kernel) {
    modules::MemorySource source(kernel);
    const auto header = modules::read_elf_header(source);
    if (!header) return {};
    const auto segments = read_elf_segments(source, *header);
    return {segments ? AddressMap::of_segments(*segments) : AddressMap{},
            header->format.is_64_bit ? WordSize::bits_64 : WordSize::bits_32};
}

/// The three tables of one kernel, and its names unpacked.
struct Tables {
    NameTable names;
    AddressTable addresses;
    std::vector<std::string> texts; ///< with the type character
};

sys::Result<Tables> read_tables(const KernelBytes& bytes, const TokenTable& tokens, SearchBudget& budget) {
    const auto names = find_name_table(bytes, tokens, budget);
    if (!names) return unusable("there is a table of tokens, but no names that go with it");
    auto addresses = find_address_table(bytes, tokens, *names);
    if (!addresses) return unusable("there are names, but no addresses that go with them");
    Tables tables{*names, std::move(*addresses), std::vector<std::string>(names->count)};
    NameReader reader(bytes, tokens, *names);
    std::size_t total = 0;
    for (auto& text : tables.texts) {
        if (!reader.next(text)) return unusable("a name in its tables is longer than any kernel's");
        total += text.size();
        constexpr std::size_t max_total = 256U << 20U;
        if (total > max_total) return unusable("the names in its tables are too long");
    }
    return tables;
}

/// The symbol from which the others' distances are taken, by its place in the tables: one whose address is a
/// multiple of a page.
std::optional<std::size_t> anchor_of(const Tables& tables) {
    std::optional<std::size_t> anchor;
    for (std::size_t i = 0; i < tables.texts.size(); ++i) {
        const auto name = std::string_view(tables.texts[i]).substr(1);
        if (name == "_text") return i;
        if (name == "_stext") anchor = i;
    }
    return anchor;
}

bool is_function(std::string_view text) {
    return text.starts_with('t') || text.starts_with('T');
}

/// How far all functions are from `anchor`, ascending and each once.
std::vector<std::uint64_t> function_distances(const Tables& tables, std::size_t anchor) {
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

/// What is known of where a kernel lies.
struct Place {
    WordSize word_size = WordSize::bits_64;
    std::uint64_t base = 0; ///< of AddressTable::values
};

/// The place by the pointers that the kernel has to its own functions.
std::optional<Place> place_by_pointers(const KernelBytes& bytes, const Tables& tables, WordSize word_size) {
    const auto anchor = anchor_of(tables);
    if (!anchor) return std::nullopt;
    const auto address =
        find_link_base(gather_pointers(bytes, word_size, tables.names.begin, kernel_addresses(word_size)),
                       function_distances(tables, *anchor), page);
    if (!address) return std::nullopt;
    return Place{word_size, *address - tables.addresses.values[*anchor]};
}

/// Place-relative tables are the same for both word sizes.
std::optional<Place> place_of_movable(const KernelBytes& bytes, const Tables& tables,
                                      const FileLayout& layout) {
    if (layout.word_size) {
        if (const auto address = layout.map.address_of(tables.addresses.begin))
            return Place{*layout.word_size, *address};
        return place_by_pointers(bytes, tables, *layout.word_size);
    }
    for (const auto word_size : {WordSize::bits_64, WordSize::bits_32}) {
        if (const auto place = place_by_pointers(bytes, tables, word_size)) return place;
    }
    return std::nullopt;
}

std::optional<Place> place_of(const KernelBytes& bytes, const Tables& tables, const FileLayout& layout) {
    const auto word_size = tables.names.word_size;
    switch (tables.addresses.form) {
    case AddressForm::absolute: return Place{word_size, 0};
    case AddressForm::place_relative: return place_of_movable(bytes, tables, layout);
    default: break;
    }
    // Zero is what the file of a kernel has that fills it in when it moves itself.
    if (const auto base = bytes.word(tables.addresses.base_at, word_size); base != 0)
        return Place{word_size, base};
    return place_by_pointers(bytes, tables, word_size);
}

/// Whether these are a kernel's symbols, and not something that looks like tables.
bool is_kernel(const Symbols& symbols) {
    constexpr std::array<std::string_view, 8> usual{"_stext",  "start_kernel", "panic",     "schedule",
                                                    "do_exit", "kfree",        "__kmalloc", "vfree"};
    constexpr auto enough = 3;
    return symbols.count() >= fewest_symbols
           && std::ranges::count_if(usual, [&](auto name) { return !symbols.find(name).empty(); }) >= enough;
}

constexpr std::uint64_t mask_of(WordSize word_size) {
    return word_size == WordSize::bits_64 ? UINT64_MAX : UINT32_MAX;
}

sys::Result<Symbols> make_symbols(const Tables& tables, const Place& place) {
    SymbolsBuilder builder;
    builder.set_word_size(place.word_size);
    const auto mask = mask_of(place.word_size);
    const auto& addresses = tables.addresses;
    for (std::size_t i = 0; i < tables.texts.size(); ++i) {
        const bool is_fixed = !addresses.is_fixed.empty() && addresses.is_fixed[i];
        const auto address = (addresses.values[i] + (is_fixed ? 0 : place.base)) & mask;
        if (!builder.add(std::string_view(tables.texts[i]).substr(1), address))
            return unusable("its tables have too many symbols");
    }
    auto symbols = builder.finish("the kernel's own tables");
    if (!is_kernel(symbols)) return unusable("the symbols in its tables are not those of a kernel");
    return symbols;
}

/// Where the kernel's functions and what follows them lie.
AddressRange address_range(const Tables& tables, const Place& place) {
    constexpr std::uint64_t most_data = 64U << 20U;
    const auto mask = mask_of(place.word_size);
    AddressRange range{mask, 0};
    for (std::size_t i = 0; i < tables.texts.size(); ++i) {
        if (!is_function(tables.texts[i])) continue;
        const auto address = (tables.addresses.values[i] + place.base) & mask;
        range.lowest = std::min(range.lowest, address);
        range.highest = std::max(range.highest, address);
    }
    range.highest += std::min(most_data, mask - range.highest);
    return range;
}

/// Where the bytes of a flat image, or of a dump, lie: told by the pointers to the kernel's texts.
AddressMap flat_map(const KernelBytes& bytes, const Tables& tables, const Place& place) {
    if (tables.addresses.form == AddressForm::place_relative)
        return AddressMap::of_flat_image(bytes.size(), tables.addresses.begin, place.base);
    const auto range = address_range(tables, place);
    const auto start = find_link_base(gather_pointers(bytes, place.word_size, tables.names.begin, range),
                                      gather_texts(bytes.all(), tables.names.begin), page);
    return start ? AddressMap::of_flat_image(bytes.size(), 0, *start) : AddressMap{};
}

/// The banner at the address that the symbols or `map` say; of several, the first.
std::optional<Banner> banner_of(const KernelBytes& bytes, const Symbols& symbols, const AddressMap& map) {
    const auto banners = find_banners(bytes.all());
    if (banners.empty()) return std::nullopt;
    auto offset = banners.front();
    const auto listed = symbols.find("linux_banner");
    if (listed.size() == 1) {
        const auto there = map.offset_of(listed.front());
        if (there && std::ranges::binary_search(banners, *there)) offset = *there;
    }
    return Banner{*banner_text(bytes.all().subspan(offset)),
                  listed.size() == 1 ? listed.front() : map.address_of(offset)};
}

sys::Result<Symbols> recover_with(std::span<const std::byte> kernel, const TokenTable& tokens,
                                  const FileLayout& layout, SearchBudget& budget) {
    const KernelBytes bytes(kernel, tokens.order);
    const auto tables = read_tables(bytes, tokens, budget);
    if (!tables) return std::unexpected(tables.error());
    const auto place = place_of(bytes, *tables, layout);
    if (!place) return unusable("its tables are there, but not where it is linked to");
    auto symbols = make_symbols(*tables, *place);
    if (!symbols) return symbols;
    auto banner =
        banner_of(bytes, *symbols, layout.map.empty() ? flat_map(bytes, *tables, *place) : layout.map);
    if (banner) symbols->set_banner(std::move(*banner));
    return symbols;
}

} // namespace

sys::Result<Symbols> recover_symbols(std::span<const std::byte> kernel) {
    const auto layout = layout_of(kernel);
    SearchBudget budget(search_steps);
    std::optional<sys::Error> reason;
    std::size_t from = 0;
    for (int tries = 0; tries < max_token_tables; ++tries) {
        const auto tokens = find_token_table(kernel, from);
        if (!tokens) break;
        auto symbols = recover_with(kernel, *tokens, layout, budget);
        if (symbols) return symbols;
        if (!reason) reason = std::move(symbols.error());
        from = tokens->digits + 1;
    }
    if (reason) return std::unexpected(std::move(*reason));
    return unusable("it has none (it was built without CONFIG_KALLSYMS), or this is no kernel");
}

} // namespace kmodguard::guest
