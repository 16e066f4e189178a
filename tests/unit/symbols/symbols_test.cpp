// SPDX-License-Identifier: AGPL-3.0-only
//
// Look-ups by name, where a name is no key.
#include "symbols/symbols.hpp"

#include <gtest/gtest.h>

#include <algorithm>

namespace kmodguard::symbols {
namespace {

using Addresses = std::vector<std::uint64_t>;

Symbols symbols_of(const std::vector<Symbol>& list) {
    SymbolsBuilder builder;
    for (const auto& [name, address] : list)
        EXPECT_TRUE(builder.add(name, address));
    return builder.finish("a test");
}

Addresses found(const Symbols& symbols, std::string_view name) {
    const auto addresses = symbols.find(name);
    return {addresses.begin(), addresses.end()};
}

std::vector<std::string> names_of(const std::vector<Symbol>& symbols) {
    std::vector<std::string> names;
    for (const auto& symbol : symbols)
        names.emplace_back(symbol.name);
    return names;
}

TEST(Symbols, AreFoundByTheirExactName) {
    const auto symbols = symbols_of({{"panic", 3}, {"load_module", 1}, {"load_modules", 2}});
    EXPECT_EQ(found(symbols, "load_module"), Addresses{1});
    EXPECT_EQ(found(symbols, "load_modules"), Addresses{2});
    EXPECT_EQ(found(symbols, "load_modul"), Addresses{});
    EXPECT_EQ(found(symbols, ""), Addresses{});
    EXPECT_EQ(found(symbols, "zzz"), Addresses{});
    EXPECT_EQ(symbols.source(), "a test");
    EXPECT_EQ(symbols.word_size(), std::nullopt);
    EXPECT_EQ(symbols.banner(), std::nullopt);
}

TEST(Symbols, OfOneNameAreAllShownOnceAndAscending) {
    const auto symbols = symbols_of({{"init", 30}, {"init", 10}, {"init", 20}, {"init", 10}});
    EXPECT_EQ(found(symbols, "init"), (Addresses{10, 20, 30}));
    EXPECT_EQ(symbols.count(), 3U);
    EXPECT_EQ(symbols.at(1), (Symbol{"init", 20}));
}

TEST(Symbols, OfOneStemAreWhatACompilerMadeOfTheFunction) {
    const auto symbols = symbols_of({{"load_module", 1},
                                     {"load_module.isra.0", 2},
                                     {"load_module.constprop.0.cold", 3},
                                     {"load_module_sig", 4},
                                     {"load_module-x", 5},
                                     {"load_modul", 6}});
    EXPECT_EQ(
        names_of(symbols.with_stem("load_module")),
        (std::vector<std::string>{"load_module", "load_module.constprop.0.cold", "load_module.isra.0"}));
    EXPECT_EQ(names_of(symbols.with_stem("load_module.isra")),
              std::vector<std::string>{"load_module.isra.0"});
    EXPECT_TRUE(symbols.with_stem("nothing").empty());
}

TEST(Symbols, MayBeNone) {
    const auto symbols = symbols_of({});
    EXPECT_EQ(symbols.count(), 0U);
    EXPECT_EQ(found(symbols, "panic"), Addresses{});
    EXPECT_TRUE(symbols.with_stem("panic").empty());
}

TEST(SymbolsBuilder, LeavesOutNamesThatAreNone) {
    const auto symbols = symbols_of({{"", 1},
                                     {std::string(SymbolsBuilder::max_name, 'x'), 2},
                                     {std::string(SymbolsBuilder::max_name + 1, 'x'), 3}});
    EXPECT_EQ(symbols.count(), 1U);
    EXPECT_EQ(symbols.at(0).address, 2U);
}

TEST(SymbolsBuilder, SaysWhenThereAreTooMany) {
    SymbolsBuilder builder;
    for (std::size_t i = 0; i < SymbolsBuilder::max_symbols; ++i)
        ASSERT_TRUE(builder.add("x", i));
    EXPECT_FALSE(builder.add("x", 0));
}

TEST(Symbols, SurviveBeingMoved) {
    auto one = symbols_of({{"a", 1}, {"b", 2}});
    const auto other = std::move(one);
    EXPECT_EQ(found(other, "b"), Addresses{2});
}

} // namespace
} // namespace kmodguard::symbols
