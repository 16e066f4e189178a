// SPDX-License-Identifier: AGPL-3.0-only
//
// The symbols of a kernel that comes without any: it has them itself, for its own error messages. Each of the
// steps by which its tables are found is certain enough to build on. A kernel in a file and one in memory
// look the same, so a dump of a guest's memory serves as well.
#include "symbols/kallsyms.hpp"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

namespace kmodguard::symbols {
namespace {

constexpr std::uint64_t search_steps = 100'000'000; ///< a second or two
constexpr int max_token_tables = 6;                 ///< in memory there may be stale ones
constexpr std::size_t fewest_symbols = 1000;

std::unexpected<sys::Error> unusable(std::string why) {
    return sys::failure(sys::ErrorKind::invalid, "cannot recover the kernel's symbols: " + std::move(why),
                        "give the kernel's System.map, or a copy of the guest's /proc/kallsyms");
}

sys::Result<KallsymsTables> read_tables(const KernelBytes& bytes, const TokenTable& tokens,
                                        SearchBudget& budget) {
    const auto names = find_name_table(bytes, tokens, budget);
    if (!names) return unusable("there is a table of tokens, but no names that go with it");
    auto addresses = find_address_table(bytes, tokens, *names);
    if (!addresses) return unusable("there are names, but no addresses that go with them");
    auto texts = read_names(bytes, tokens, *names);
    if (!texts) return unusable(texts.error().what);
    return KallsymsTables{*names, std::move(*addresses), std::move(*texts)};
}

/// Whether these are a kernel's symbols, and not something that looks like tables.
bool is_kernel(const Symbols& symbols) {
    constexpr std::array<std::string_view, 8> usual{"_stext",  "start_kernel", "panic",     "schedule",
                                                    "do_exit", "kfree",        "__kmalloc", "vfree"};
    constexpr auto enough = 3;
    return symbols.count() >= fewest_symbols
           && std::ranges::count_if(usual, [&](auto name) { return !symbols.find(name).empty(); }) >= enough;
}

sys::Result<Symbols> make_symbols(const KallsymsTables& tables, const KernelLocation& location) {
    SymbolsBuilder builder;
    builder.set_word_size(location.word_size);
    for (std::size_t i = 0; i < tables.texts.size(); ++i) {
        if (!builder.add(std::string_view(tables.texts[i]).substr(1), address_of(tables, location, i)))
            return unusable("its tables have too many symbols");
    }
    auto symbols = builder.finish("the kernel's own tables");
    if (!is_kernel(symbols)) return unusable("the symbols in its tables are not those of a kernel");
    return symbols;
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
    const auto tables = TRY(read_tables(bytes, tokens, budget));
    const auto location = locate_kernel(bytes, tables, layout);
    if (!location) return unusable("its tables are there, but not where it is linked to");
    auto symbols = make_symbols(tables, *location);
    if (!symbols) return symbols;
    auto banner = banner_of(bytes, *symbols,
                            layout.map.empty() ? map_of_flat_image(bytes, tables, *location) : layout.map);
    if (banner) symbols->set_banner(std::move(*banner));
    return symbols;
}

} // namespace

sys::Result<Symbols> recover_symbols(std::span<const std::byte> kernel) {
    const auto layout = layout_of(kernel);
    SearchBudget budget(search_steps);
    std::optional<Symbols> recovered;
    std::optional<sys::Error> reason;
    std::size_t from = 0;
    for (int tries = 0; tries < max_token_tables; ++tries) {
        const auto tokens = find_token_table(kernel, from);
        if (!tokens) break;
        auto symbols = recover_with(kernel, *tokens, layout, budget);
        if (!symbols) {
            if (!reason) reason = std::move(symbols.error());
        } else if (!recovered || recovered->count() == symbols->count()) {
            recovered = std::move(*symbols); // the same kernel, where it has moved to
        }
        from = tokens->digits + 1;
    }
    if (recovered) return std::move(*recovered);
    if (reason) return std::unexpected(std::move(*reason));
    return unusable("it has none (it was built without CONFIG_KALLSYMS), or this is no kernel");
}

} // namespace kmodguard::symbols
