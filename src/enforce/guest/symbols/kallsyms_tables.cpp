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

std::unexpected<sys::Error> unusable(std::string why) {
    return sys::failure(sys::ErrorKind::invalid, "cannot recover the kernel's symbols: " + std::move(why),
                        "give the kernel's System.map, or a copy of the guest's /proc/kallsyms");
}

AddressMap map_of(std::span<const std::byte> kernel) {
    modules::MemorySource source(kernel);
    const auto header = modules::read_elf_header(source);
    if (!header) return {};
    const auto segments = read_elf_segments(source, *header);
    return segments ? AddressMap::of_segments(*segments) : AddressMap{};
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

/// The place in the tables of the symbol from which the others' distances are taken, and what its address is
/// a multiple of: kernels are linked to round addresses, and move by round distances.
struct Anchor {
    std::size_t index;
    std::uint64_t alignment;
};

std::optional<Anchor> anchor_of(const Tables& tables) {
    constexpr std::uint64_t page = 4096;
    std::optional<Anchor> anchor;
    for (std::size_t i = 0; i < tables.texts.size(); ++i) {
        const auto name = std::string_view(tables.texts[i]).substr(1);
        if (name == "_text") return Anchor{i, 16 * page};
        if (name == "_stext") anchor = Anchor{i, page};
    }
    return anchor;
}

/// The base by the pointers that the kernel has to itself.
std::optional<std::uint64_t> base_by_pointers(const KernelBytes& bytes, const Tables& tables) {
    const auto anchor = anchor_of(tables);
    if (!anchor) return std::nullopt;
    const auto& values = tables.addresses.values;
    constexpr std::uint64_t longest = 1U << 30U;
    std::vector<std::uint64_t> distances;
    for (std::size_t i = 0; i < values.size(); ++i) {
        const auto distance = values[i] - values[anchor->index];
        if (distance < longest && (tables.addresses.is_fixed.empty() || !tables.addresses.is_fixed[i]))
            distances.push_back(distance);
    }
    std::ranges::sort(distances);
    const auto doubles = std::ranges::unique(distances);
    distances.erase(doubles.begin(), doubles.end());
    const auto address =
        find_link_base(bytes, tables.names.word_size, tables.names.begin, distances, anchor->alignment);
    if (!address) return std::nullopt;
    return *address - values[anchor->index];
}

std::optional<std::uint64_t> base_of(const KernelBytes& bytes, const Tables& tables, const AddressMap& map) {
    switch (tables.addresses.form) {
    case AddressForm::absolute: return 0;
    case AddressForm::place_relative:
        if (const auto address = map.address_of(tables.addresses.begin)) return address;
        break;
    default:
        // Zero is what the file of a kernel has that fills it in when it moves itself.
        if (const auto base = bytes.word(tables.addresses.base_at, tables.names.word_size); base != 0)
            return base;
    }
    return base_by_pointers(bytes, tables);
}

/// Whether these are a kernel's symbols, and not something that looks like tables.
bool is_kernel(const Symbols& symbols) {
    constexpr std::array<std::string_view, 8> usual{"_stext",  "start_kernel", "panic",     "schedule",
                                                    "do_exit", "kfree",        "__kmalloc", "vfree"};
    constexpr auto enough = 3;
    return symbols.count() >= fewest_symbols
           && std::ranges::count_if(usual, [&](auto name) { return !symbols.find(name).empty(); }) >= enough;
}

sys::Result<Symbols> make_symbols(const Tables& tables, std::uint64_t base) {
    SymbolsBuilder builder;
    builder.set_word_size(tables.names.word_size);
    const auto mask = tables.names.word_size == WordSize::bits_64 ? UINT64_MAX : UINT32_MAX;
    const auto& addresses = tables.addresses;
    for (std::size_t i = 0; i < tables.texts.size(); ++i) {
        const bool is_fixed = !addresses.is_fixed.empty() && addresses.is_fixed[i];
        const auto address = (addresses.values[i] + (is_fixed ? 0 : base)) & mask;
        if (!builder.add(std::string_view(tables.texts[i]).substr(1), address))
            return unusable("its tables have too many symbols");
    }
    auto symbols = builder.finish("the kernel's own tables");
    if (!is_kernel(symbols)) return unusable("the symbols in its tables are not those of a kernel");
    return symbols;
}

/// Where the bytes lie in memory, once the symbols are known.
AddressMap map_with(const Symbols& symbols, const Tables& tables, std::uint64_t base, std::size_t size,
                    std::span<const std::size_t> banners) {
    if (tables.addresses.form == AddressForm::place_relative)
        return AddressMap::of_flat_image(size, tables.addresses.begin, base);
    const auto addresses = symbols.find("linux_banner");
    if (addresses.size() == 1 && !banners.empty())
        return AddressMap::of_flat_image(size, banners.front(), addresses.front());
    return {};
}

std::optional<Banner> banner_of(std::span<const std::byte> kernel, const Symbols& symbols,
                                const Tables& tables, std::uint64_t base, AddressMap map) {
    const auto banners = find_banners(kernel);
    if (banners.empty()) return std::nullopt;
    if (map.empty()) map = map_with(symbols, tables, base, kernel.size(), banners);
    auto offset = banners.front();
    if (const auto addresses = symbols.find("linux_banner"); addresses.size() == 1) {
        const auto listed = map.offset_of(addresses.front());
        if (listed && std::ranges::binary_search(banners, *listed)) offset = *listed;
    }
    return Banner{*banner_text(kernel.subspan(offset)), map.address_of(offset)};
}

sys::Result<Symbols> recover_with(std::span<const std::byte> kernel, const TokenTable& tokens,
                                  const AddressMap& map, SearchBudget& budget) {
    const KernelBytes bytes(kernel, tokens.order);
    const auto tables = read_tables(bytes, tokens, budget);
    if (!tables) return std::unexpected(tables.error());
    const auto base = base_of(bytes, *tables, map);
    if (!base) return unusable("its tables are there, but not where it is linked to");
    auto symbols = make_symbols(*tables, *base);
    if (!symbols) return symbols;
    if (auto banner = banner_of(kernel, *symbols, *tables, *base, map))
        symbols->set_banner(std::move(*banner));
    return symbols;
}

} // namespace

sys::Result<Symbols> recover_symbols(std::span<const std::byte> kernel) {
    const auto map = map_of(kernel);
    SearchBudget budget(search_steps);
    std::optional<sys::Error> reason;
    std::size_t from = 0;
    for (int tries = 0; tries < max_token_tables; ++tries) {
        const auto tokens = find_token_table(kernel, from);
        if (!tokens) break;
        auto symbols = recover_with(kernel, *tokens, map, budget);
        if (symbols) return symbols;
        if (!reason) reason = std::move(symbols.error());
        from = tokens->digits + 1;
    }
    if (reason) return std::unexpected(std::move(*reason));
    return unusable("it has none (it was built without CONFIG_KALLSYMS), or this is no kernel");
}

} // namespace kmodguard::guest
