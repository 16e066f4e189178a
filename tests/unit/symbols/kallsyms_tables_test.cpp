// SPDX-License-Identifier: AGPL-3.0-only
//
// Symbols of kernels that have only their own tables: every generation, both word sizes and byte orders, in a
// file and in memory.
#include "symbols/kernel_builder.hpp"
#include "symbols/symbols.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <ranges>
#include <tuple>

namespace kmodguard::symbols {
namespace {

using test::build_kernel;
using test::Generation;
using test::KernelSpec;
using test::TestKernel;

/// Each of the kernel's symbols under its name, and no other.
void expect_all(const TestKernel& kernel, const sys::Result<Symbols>& symbols) {
    ASSERT_TRUE(symbols) << symbols.error().what;
    EXPECT_EQ(symbols->count(), kernel.listed.size());
    for (const auto& listed : kernel.listed) {
        const auto found = symbols->find(std::string_view(listed.text).substr(1));
        EXPECT_EQ(std::ranges::count(found, listed.address), 1) << listed.text << std::hex << listed.address;
    }
    EXPECT_EQ(symbols->word_size(), kernel.spec.is_64_bit ? WordSize::bits_64 : WordSize::bits_32);
    EXPECT_EQ(symbols->find("init").size(), 2U);
}

void expect_banner(const TestKernel& kernel, const sys::Result<Symbols>& symbols) {
    ASSERT_TRUE(symbols && symbols->banner());
    EXPECT_EQ(symbols->banner()->text, test::test_banner);
    EXPECT_EQ(symbols->banner()->address, kernel.address_of(kernel.at.banner));
}

using Form = std::tuple<Generation, bool, bool>;

class EveryGeneration : public testing::TestWithParam<Form> {
  protected:
    [[nodiscard]] static KernelSpec spec() {
        const auto [generation, is_64_bit, is_big] = GetParam();
        return test::spec_of(generation, is_64_bit, is_big ? std::endian::big : std::endian::little);
    }
};

TEST_P(EveryGeneration, IsRecovered) {
    const auto kernel = build_kernel(spec());
    const auto symbols = recover_symbols(kernel.bytes);
    expect_all(kernel, symbols);
    expect_banner(kernel, symbols);
}

TEST_P(EveryGeneration, WithoutDataSymbolsTheBannerIsFoundByPointers) {
    auto specification = spec();
    specification.lists_data = false;
    const auto kernel = build_kernel(specification);
    const auto symbols = recover_symbols(kernel.bytes);
    expect_all(kernel, symbols);
    EXPECT_TRUE(symbols->find("linux_banner").empty());
    expect_banner(kernel, symbols);
}

TEST_P(EveryGeneration, IsRecoveredFromMemory) {
    auto specification = spec();
    specification.before = 3U << 20U;
    specification.address += 0x0720'0000; // where it was moved to
    const auto kernel = build_kernel(specification);
    const auto symbols = recover_symbols(kernel.bytes);
    expect_all(kernel, symbols);
    expect_banner(kernel, symbols);
}

TEST_P(EveryGeneration, CutOffIsAnErrorThatSaysSo) {
    const auto kernel = build_kernel(spec());
    const auto end = kernel.at.end;
    for (std::size_t size = 0; size < end; size += 1 + end / 41) {
        const auto symbols = recover_symbols(std::span(kernel.bytes).first(size));
        if (symbols) {
            expect_all(kernel, symbols); // the order of the names is not needed
            EXPECT_GT(size, std::max(kernel.at.token_index, kernel.at.addresses));
            continue;
        }
        EXPECT_EQ(symbols.error().kind, sys::ErrorKind::invalid);
        EXPECT_NE(symbols.error().hint, "");
    }
}

std::vector<Form> all_forms() {
    std::vector<Form> forms;
    for (const auto generation : {Generation::v2_6, Generation::v4_6, Generation::v4_20, Generation::v6_2,
                                  Generation::v6_4, Generation::v7_0, Generation::v7_0_fixed}) {
        for (const bool is_64_bit : {true, false}) {
            for (const bool is_big : {true, false}) {
                if (!is_64_bit || generation != Generation::v7_0_fixed)
                    forms.emplace_back(generation, is_64_bit, is_big);
            }
        }
    }
    return forms;
}

std::string name_of(const testing::TestParamInfo<Form>& form) {
    const auto [generation, is_64_bit, is_big] = form.param;
    return testing::PrintToString(generation) + (is_64_bit ? "_64" : "_32") + (is_big ? "_big" : "_little");
}

INSTANTIATE_TEST_SUITE_P(All, EveryGeneration, testing::ValuesIn(all_forms()), name_of);

class RelativeGeneration : public testing::TestWithParam<Generation> {};

TEST_P(RelativeGeneration, PerCpuSymbolsAreSmallNumbers) {
    auto specification = test::spec_of(GetParam(), true, std::endian::little);
    specification.percpu = true;
    const auto kernel = build_kernel(specification);
    const auto symbols = recover_symbols(kernel.bytes);
    expect_all(kernel, symbols);
    EXPECT_EQ(symbols->find("cpu_number").front(), 0x1D0U);
}

TEST_P(RelativeGeneration, WithoutABaseInTheFileItIsFoundByPointers) {
    for (const bool lists_data : {true, false}) {
        auto specification = test::spec_of(GetParam(), true, std::endian::little);
        specification.base_in_file = false;
        specification.lists_data = lists_data;
        specification.address = 0xFFFF'8000'0801'0000;
        const auto kernel = build_kernel(specification);
        const auto symbols = recover_symbols(kernel.bytes);
        expect_all(kernel, symbols);
        expect_banner(kernel, symbols);
    }
}

TEST_P(RelativeGeneration, WithoutABaseAndPointersThereIsNoTelling) {
    auto specification = test::spec_of(GetParam(), true, std::endian::little);
    specification.base_in_file = false;
    specification.pointers = 10;
    const auto symbols = recover_symbols(build_kernel(specification).bytes);
    ASSERT_FALSE(symbols);
    EXPECT_EQ(symbols.error().what,
              "cannot recover the kernel's symbols: its tables are there, but not where it is linked to");
}

INSTANTIATE_TEST_SUITE_P(All, RelativeGeneration,
                         testing::Values(Generation::v4_6, Generation::v4_20, Generation::v6_2,
                                         Generation::v6_4),
                         testing::PrintToStringParamName());

TEST(RecoverSymbols, TablesMayBeAlignedByPowersOfTwo) { // `.align 8` is 256 bytes to many assemblers
    for (const auto generation : {Generation::v2_6, Generation::v4_6, Generation::v4_20, Generation::v6_2}) {
        for (const bool is_64_bit : {true, false}) {
            for (const auto order : {std::endian::little, std::endian::big}) {
                auto specification = test::spec_of(generation, is_64_bit, order);
                specification.alignment = is_64_bit ? 256 : 16;
                const auto kernel = build_kernel(specification);
                expect_all(kernel, recover_symbols(kernel.bytes));
            }
        }
    }
}

TEST(RecoverSymbols, OfSeveralKernelsInMemoryTheFirstWholeOneCounts) {
    auto damaged = build_kernel(test::spec_of(Generation::v6_4, true, std::endian::little));
    std::ranges::fill(std::span(damaged.bytes).subspan(damaged.at.names, 64), std::byte{0xFF});
    const auto whole = build_kernel(test::spec_of(Generation::v4_6, false, std::endian::big));
    auto memory = damaged.bytes;
    memory.resize((memory.size() + 4095) / 4096 * 4096);
    memory.insert(memory.end(), whole.bytes.begin(), whole.bytes.end());
    expect_all(whole, recover_symbols(memory));
}

TEST(RecoverSymbols, OfAKernelThatMovedItselfTheLaterCopyCounts) {
    auto specification = test::spec_of(Generation::v4_20, false, std::endian::little);
    const auto left_behind = build_kernel(specification);
    specification.before = (left_behind.bytes.size() + 4095) / 4096 * 4096;
    specification.address += 0x50'0000;
    auto moved = build_kernel(specification);
    std::ranges::copy(left_behind.bytes, moved.bytes.begin());
    expect_all(moved, recover_symbols(moved.bytes));
}

TEST(RecoverSymbols, KnowsPiecesOfAFunction) {
    const auto symbols = recover_symbols(build_kernel({}).bytes);
    ASSERT_TRUE(symbols);
    std::vector<std::string_view> names;
    for (const auto& symbol : symbols->with_stem("load_module"))
        names.push_back(symbol.name);
    EXPECT_EQ(names,
              (std::vector<std::string_view>{"load_module", "load_module.cold", "load_module.constprop.0"}));
}

std::string error_of(const test::Bytes& kernel) {
    const auto symbols = recover_symbols(kernel);
    return symbols ? "" : symbols.error().what;
}

/// The kernel with `value` of `width` bytes instead of what is at `offset`.
std::string error_with(std::size_t test::KernelPlaces::* place, std::size_t distance, std::uint64_t value,
                       std::size_t width) {
    auto kernel = build_kernel(test::spec_of(Generation::v6_4, true, std::endian::little));
    for (std::size_t i = 0; i < width; ++i)
        kernel.bytes.at(kernel.at.*place + distance + i) = static_cast<std::byte>(value >> (8 * i));
    return error_of(kernel.bytes);
}

TEST(RecoverSymbols, DamagedTablesAreToldApart) {
    constexpr auto no_tables = "cannot recover the kernel's symbols: it has none (it was built without "
                               "CONFIG_KALLSYMS), or this is no kernel";
    constexpr auto no_names =
        "cannot recover the kernel's symbols: there is a table of tokens, but no names that go with it";
    constexpr auto no_addresses =
        "cannot recover the kernel's symbols: there are names, but no addresses that go with them";
    using Places = test::KernelPlaces;
    // The index: not from zero on, beyond the texts, not ascending, and not where the digits are.
    EXPECT_EQ(error_with(&Places::token_index, 0, 1, 2), no_tables);
    EXPECT_EQ(error_with(&Places::token_index, 20, 0xFFFF, 2), no_tables);
    EXPECT_EQ(error_with(&Places::token_index, 20, 0, 2), no_tables);
    EXPECT_EQ(error_with(&Places::token_index, 96, 0x7FFF, 2), no_tables);
    // The count: of other blocks than the markers have, of more names than there are, and of fewer.
    for (const std::uint64_t count : {0U, 1U, 0x7FFF'FFFFU, 0xFFFF'FFFFU, 2816U, 2600U})
        EXPECT_EQ(error_with(&Places::count, 0, count, 4), no_names) << count;
    // A name: empty, too long for its block, and with a long length.
    for (const std::uint64_t length : {0U, 0x7FU, 0xFFU})
        EXPECT_EQ(error_with(&Places::names, 0, length, 1), no_names) << length;
    // A marker: elsewhere, and at the end of all.
    EXPECT_EQ(error_with(&Places::markers, 4, 600, 4), no_names);
    EXPECT_EQ(error_with(&Places::markers, 16, 0xFFFF'FFFF, 4), no_names);
    EXPECT_EQ(error_with(&Places::addresses, 4000, 0xFFFF'FFFF, 4), no_addresses);
}

TEST(RecoverSymbols, NothingLikeAKernelHasNoTables) {
    constexpr auto none =
        "cannot recover the kernel's symbols: it has none (it was built without CONFIG_KALLSYMS), or "
        "this is no kernel";
    EXPECT_EQ(error_of({}), none);
    EXPECT_EQ(error_of(test::Bytes(1U << 20U)), none);
    EXPECT_EQ(error_of(test::Bytes(1U << 20U, std::byte{0xFF})), none);
}

TEST(RecoverSymbols, TooFewSymbolsAreNoKernels) {
    auto specification = test::spec_of(Generation::v6_4, true, std::endian::little);
    specification.functions = 700;
    EXPECT_EQ(error_of(build_kernel(specification).bytes),
              "cannot recover the kernel's symbols: the symbols in its tables are not those of a kernel");
}

} // namespace
} // namespace kmodguard::symbols
