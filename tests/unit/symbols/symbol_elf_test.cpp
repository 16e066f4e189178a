// SPDX-License-Identifier: AGPL-3.0-only
//
// The symbol table of a vmlinux, of either class and byte order, and damaged.
#include "modules/elf_builder.hpp"
#include "modules/elf_file.hpp"
#include "modules/image_source.hpp"
#include "symbols/symbols.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <utility>

namespace kmodguard::symbols {
namespace {

struct Entry {
    std::string name;
    std::uint64_t value = 0;
    unsigned type = STT_FUNC;
    std::uint16_t section = 1;
};

/// The bytes of one symbol of a class, in an order.
template <typename Sym>
std::string raw_symbol(const Entry& entry, std::uint32_t name, std::endian order) {
    Sym raw{};
    raw.st_name = modules::in_order(name, order);
    raw.st_info = static_cast<unsigned char>(ELF64_ST_INFO(STB_GLOBAL, entry.type));
    raw.st_shndx = modules::in_order(entry.section, order);
    raw.st_value = modules::in_order(static_cast<decltype(raw.st_value)>(entry.value), order);
    return {reinterpret_cast<const char*>(&raw), sizeof raw};
}

const std::vector<Entry> entries{{"load_module", 0xC0201000},
                                 {"init", 0xC0205000},
                                 {"init", 0xC0204000},
                                 {"linux_banner", 0xC0300000, STT_OBJECT},
                                 {"main.c", 0, STT_FILE, SHN_ABS},
                                 {"undefined", 0, STT_NOTYPE, SHN_UNDEF},
                                 {"$a", 0xC0201000, STT_NOTYPE},
                                 {".LC0", 0xC0201000, STT_NOTYPE},
                                 {"", 0xC0201000, STT_SECTION}};

/// Section 1 .text, 2 .symtab, 3 .strtab.
test::ElfSpec vmlinux(bool is_64_bit, std::endian order) {
    std::string names(1, '\0');
    std::string table(is_64_bit ? sizeof(Elf64_Sym) : sizeof(Elf32_Sym), '\0');
    for (const auto& entry : entries) {
        const auto at = static_cast<std::uint32_t>(names.size());
        table +=
            is_64_bit ? raw_symbol<Elf64_Sym>(entry, at, order) : raw_symbol<Elf32_Sym>(entry, at, order);
        names += entry.name + '\0';
    }
    return {.is_64_bit = is_64_bit,
            .order = order,
            .sections = {{.name = ".text", .content = std::string(32, 'x')},
                         {.name = ".symtab", .content = table, .type = SHT_SYMTAB, .flags = 0, .link = 3},
                         {.name = ".strtab", .content = names, .type = SHT_STRTAB, .flags = 0}},
            .lies = {.type = ET_EXEC}};
}

sys::Result<std::optional<Symbols>> read(const test::ElfSpec& spec) {
    const auto bytes = build(spec);
    modules::MemorySource source(bytes);
    return read_elf_symbols(source, "vmlinux");
}

TEST(ElfSymbols, AreReadFromEveryClassAndByteOrder) {
    for (const bool is_64_bit : {true, false}) {
        for (const auto order : {std::endian::little, std::endian::big}) {
            const auto read_symbols = read(vmlinux(is_64_bit, order));
            ASSERT_TRUE(read_symbols) << read_symbols.error().what;
            ASSERT_TRUE(*read_symbols);
            const auto& symbols = **read_symbols;
            EXPECT_EQ(symbols.count(), 4U);
            ASSERT_EQ(symbols.find("load_module").size(), 1U);
            EXPECT_EQ(symbols.find("load_module").front(), 0xC0201000U);
            EXPECT_EQ(symbols.find("init").size(), 2U);
            EXPECT_TRUE(symbols.find("undefined").empty());
            EXPECT_TRUE(symbols.find("main.c").empty());
            EXPECT_EQ(symbols.word_size(), is_64_bit ? WordSize::bits_64 : WordSize::bits_32);
            EXPECT_EQ(symbols.source(), "the symbol table of vmlinux");
        }
    }
}

TEST(ElfSymbols, OfThumbFunctionsHaveEvenAddresses) {
    auto spec = vmlinux(false, std::endian::little);
    spec.sections[1].content +=
        raw_symbol<Elf32_Sym>({"thumb", 0xC0201235}, 1, std::endian::little)
        + raw_symbol<Elf32_Sym>({"data", 0xC0301235, STT_OBJECT}, 1, std::endian::little);
    for (const auto& [machine, expected] :
         {std::pair{EM_ARM, 0xC0201234U}, std::pair{EM_MIPS, 0xC0201235U}}) {
        spec.machine = static_cast<std::uint16_t>(machine);
        const auto symbols = read(spec).value().value();
        const auto found = symbols.find("load_module"); // the name that all three have
        EXPECT_EQ((std::vector<std::uint64_t>(found.begin(), found.end())),
                  (std::vector<std::uint64_t>{0xC0201000U, expected, 0xC0301235U}));
    }
}

TEST(ElfSymbols, AreNoneInAStrippedFile) {
    auto spec = vmlinux(true, std::endian::little);
    spec.sections[1].type = SHT_PROGBITS;
    EXPECT_EQ(read(spec).value(), std::nullopt);
    spec.lies.section_count = 0;
    EXPECT_EQ(read(spec).value(), std::nullopt);
}

TEST(ElfSymbols, OfADamagedTableAreAnError) {
    const auto error_of = [](const std::function<void(test::ElfSpec&)>& damage) {
        auto spec = vmlinux(true, std::endian::little);
        damage(spec);
        const auto symbols = read(spec);
        return symbols ? "" : symbols.error().what;
    };
    EXPECT_EQ(error_of([](auto& spec) { spec.sections[1].link = 99; }),
              "vmlinux: the symbol table has no names");
    EXPECT_EQ(error_of([](auto& spec) { spec.sections[1].size = 1U << 20U; }),
              "vmlinux: the symbol table lies outside the file");
    EXPECT_EQ(error_of([](auto& spec) { spec.sections[1].offset = UINT64_MAX; }),
              "vmlinux: the symbol table lies outside the file");
    EXPECT_EQ(error_of([](auto& spec) { spec.sections[2].size = UINT64_MAX; }),
              "vmlinux: symbol table too large");
    EXPECT_EQ(error_of([](auto& spec) { spec.sections[2].content.assign(1, '\0'); }),
              "vmlinux: the symbol table has no symbols");
    EXPECT_EQ(error_of([](auto& spec) { spec.lies.section_headers = 1U << 30U; }),
              "vmlinux: section headers outside the image");
    EXPECT_EQ(error_of([](auto& spec) { spec.lies.section_header_size = 1; }),
              "vmlinux: section headers of the wrong size");
}

TEST(ElfSymbols, MayBeCutOffAnywhere) {
    const auto bytes = build(vmlinux(false, std::endian::big));
    for (std::size_t size = 0; size < bytes.size(); ++size) {
        modules::MemorySource source({bytes.data(), size});
        EXPECT_FALSE(read_elf_symbols(source, "vmlinux")) << size;
    }
}

} // namespace
} // namespace kmodguard::symbols
