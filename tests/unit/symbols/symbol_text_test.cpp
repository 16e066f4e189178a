// SPDX-License-Identifier: AGPL-3.0-only
//
// System.map, nm's output, and copies of /proc/kallsyms, good and useless ones.
#include "symbols/symbols.hpp"

#include <gtest/gtest.h>

namespace kmodguard::symbols {
namespace {

sys::Error error_of(std::string_view text) {
    const auto symbols = parse_symbol_text(text, "the-file");
    return symbols ? sys::Error{} : symbols.error();
}

std::uint64_t one(const Symbols& symbols, std::string_view name) {
    const auto found = symbols.find(name);
    EXPECT_EQ(found.size(), 1U) << name;
    return found.empty() ? 0 : found.front();
}

TEST(SymbolText, IsSystemMap) {
    constexpr std::string_view text = "0000000000000000 D __per_cpu_start\n"
                                      "ffffffff81000000 T _text\n"
                                      "ffffffff81149680 t load_module\n"
                                      "ffffffff83079e46 T start_kernel";
    ASSERT_TRUE(is_symbol_text(text));
    const auto symbols = parse_symbol_text(text, "the-file");
    ASSERT_TRUE(symbols) << symbols.error().what;
    EXPECT_EQ(symbols->count(), 4U);
    EXPECT_EQ(one(*symbols, "load_module"), 0xFFFFFFFF81149680U);
    EXPECT_EQ(one(*symbols, "start_kernel"), 0xFFFFFFFF83079E46U);
    EXPECT_EQ(symbols->word_size(), WordSize::bits_64);
    EXPECT_EQ(symbols->source(), "the-file");
}

TEST(SymbolText, IsSystemMapOf32Bits) {
    const auto symbols = parse_symbol_text("c0008000 T stext\nC0066FA0 t load_module\n", "the-file");
    ASSERT_TRUE(symbols);
    EXPECT_EQ(one(*symbols, "load_module"), 0xC0066FA0U);
    EXPECT_EQ(symbols->word_size(), WordSize::bits_32);
}

TEST(SymbolText, IsKallsymsWithoutWhatBelongsToModules) {
    const auto symbols = parse_symbol_text("ffffffff81149680 t load_module\n"
                                           "ffffffffc0201000 t load_module\t[evil]\n"
                                           "ffffffffc0201040 T evil_init\t[evil]\r\n"
                                           "ffffffffc0002000 t bpf_prog_6deef7357e7b4530\t[bpf]\n",
                                           "the-file");
    ASSERT_TRUE(symbols);
    EXPECT_EQ(symbols->count(), 1U);
    EXPECT_EQ(one(*symbols, "load_module"), 0xFFFFFFFF81149680U);
}

TEST(SymbolText, IsNmsOutput) {
    constexpr std::string_view text = "                 w __start___bug_table\n"
                                      "                 U _GLOBAL_OFFSET_TABLE_\n"
                                      "\n"
                                      "ffffffff81149680 t load_module\n";
    ASSERT_TRUE(is_symbol_text(text));
    const auto symbols = parse_symbol_text(text, "the-file");
    ASSERT_TRUE(symbols) << symbols.error().what;
    EXPECT_EQ(symbols->count(), 1U);
    EXPECT_EQ(symbols->word_size(), WordSize::bits_64);
}

TEST(SymbolText, OfZeroesSaysWhoHidThem) {
    const auto error = error_of("0000000000000000 T _text\n0000000000000000 t load_module\n"
                                "0000000000000000 t evil_init\t[evil]\n");
    EXPECT_EQ(error.kind, sys::ErrorKind::denied);
    EXPECT_EQ(error.what, "the-file has only zero addresses: the kernel hid them from its reader");
    EXPECT_NE(error.hint.find("kptr_restrict"), std::string::npos);
}

TEST(SymbolText, ThatDebianInstallsIsAStub) {
    constexpr std::string_view text =
        "ffffffffffffffff B The real System.map is in the linux-image-<version>-dbg package\n";
    ASSERT_TRUE(is_symbol_text(text));
    const auto error = error_of(text);
    EXPECT_EQ(error.kind, sys::ErrorKind::invalid);
    EXPECT_EQ(error.what, "the-file is a stub without symbols: the real System.map is in another package");
    EXPECT_NE(error.hint.find("vmlinuz"), std::string::npos);
}

TEST(SymbolText, WithAnotherLineIsNamedByItsNumber) {
    constexpr std::string_view good = "ffffffff81000000 T _text\n";
    for (const std::string bad :
         {"ffffffff81000000", "ffffffff81000000 T", "ffffffff81000000 TT name", "hello world", "fff T name",
          "fffffffff81000000f T name", "ffffffff8100000g T name"}) {
        const auto error = error_of(std::string(good) + bad + "\n");
        EXPECT_EQ(error.kind, sys::ErrorKind::invalid) << bad;
        EXPECT_EQ(error.what, "the-file: line 2 is not \"ADDRESS TYPE NAME\"") << bad;
    }
}

TEST(SymbolText, WithoutSymbolsIsAnError) {
    EXPECT_EQ(error_of("").what, "the-file has no symbols of the kernel itself");
    EXPECT_EQ(error_of("ffffffffc0201040 T evil_init\t[evil]\n").what,
              "the-file has no symbols of the kernel itself");
}

TEST(SymbolText, IsNotEveryText) {
    EXPECT_FALSE(is_symbol_text(""));
    EXPECT_FALSE(is_symbol_text("\x7f"
                                "ELF"));
    EXPECT_FALSE(is_symbol_text("#!/bin/sh\n"));
    EXPECT_FALSE(is_symbol_text(std::string(100'000, 'a')));
    EXPECT_FALSE(is_symbol_text("ffffffff81000000 T " + std::string(2000, 'a')));
}

} // namespace
} // namespace kmodguard::symbols
