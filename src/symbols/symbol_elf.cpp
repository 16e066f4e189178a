// SPDX-License-Identifier: AGPL-3.0-only
//
// Symbols of a vmlinux that was not stripped. Only the headers, the symbol table and its names are read, so
// the debug information that makes such a file half a gigabyte costs nothing.
#include "modules/elf_file.hpp"
#include "symbols/kernel_bytes.hpp"

#include <elf.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

namespace kmodguard::symbols {
namespace {

using modules::in_order;

constexpr std::uint64_t max_table = 256ULL << 20U; ///< bytes of the symbol table, and of the names

std::unexpected<sys::Error> malformed(std::string_view label, std::string_view why) {
    return sys::failure(sys::ErrorKind::invalid, fmt::format("{}: {}", label, why),
                        "give another file with the kernel's symbols: System.map, or the kernel image");
}

bool is_wanted(unsigned type, std::uint16_t section, std::string_view name) {
    return type != STT_FILE && type != STT_SECTION && section != SHN_UNDEF && !name.starts_with('$')
           && !name.starts_with(".L");
}

/// The name that begins at `offset`; empty if that is beyond the table or does not end in it.
std::string_view name_at(std::string_view names, std::uint32_t offset) {
    if (offset >= names.size()) return {};
    const auto rest = names.substr(offset, SymbolsBuilder::max_name + 1);
    const auto end = rest.find('\0');
    return end == std::string_view::npos ? std::string_view{} : rest.substr(0, end);
}

/// Where a symbol lies. The lowest bit of an ARM function's says that it is Thumb code, and is no part of the
/// address.
std::uint64_t address_of(std::uint64_t value, unsigned type, std::uint16_t machine) {
    return machine == EM_ARM && type == STT_FUNC ? value & ~std::uint64_t{1} : value;
}

template <typename Sym>
bool add_symbols(SymbolsBuilder& builder, std::span<const std::byte> table, std::string_view names,
                 const modules::ElfFormat& format) {
    const auto order = format.order;
    for (; table.size() >= sizeof(Sym); table = table.subspan(sizeof(Sym))) {
        Sym raw;
        std::memcpy(&raw, table.data(), sizeof raw);
        const auto name = name_at(names, in_order(raw.st_name, order));
        const unsigned type = ELF64_ST_TYPE(raw.st_info);
        if (is_wanted(type, in_order(raw.st_shndx, order), name)
            && !builder.add(name, address_of(in_order(raw.st_value, order), type, format.machine)))
            return false;
    }
    return true;
}

/// The text at the symbol linux_banner, if the file has it.
std::optional<Banner> banner_in(modules::ByteSource& source, const modules::ElfHeader& header,
                                const Symbols& symbols) {
    const auto addresses = symbols.find("linux_banner");
    const auto segments = read_elf_segments(source, header);
    if (!segments || addresses.size() != 1) return std::nullopt;
    const auto offset = AddressMap::of_segments(*segments).offset_of(addresses.front());
    if (!offset || *offset >= source.size()) return std::nullopt;
    const auto bytes = read_range(source, *offset, std::min(source.size() - *offset, max_banner));
    auto text = bytes ? banner_text(bytes->all()) : std::nullopt;
    if (!text) return std::nullopt;
    return Banner{std::move(*text), addresses.front()};
}

} // namespace

sys::Result<std::optional<Symbols>> read_elf_symbols(modules::ByteSource& source, std::string_view label) {
    const auto header = modules::read_elf_header(source);
    if (!header) return malformed(label, header.error().what);
    if (header->section_count == 0) return std::nullopt;
    const auto sections = read_elf_sections(source, *header);
    if (!sections) return malformed(label, sections.error().what);
    const auto table = std::ranges::find(*sections, SHT_SYMTAB, &modules::ElfSection::type);
    if (table == sections->end()) return std::nullopt;
    if (table->link >= sections->size()) return malformed(label, "the symbol table has no names");
    const auto& strings = (*sections)[table->link];
    if (table->size > max_table || strings.size > max_table)
        return malformed(label, "symbol table too large");

    const auto names = read_range(source, strings.offset, strings.size);
    if (!names) return malformed(label, "the symbols' names lie outside the file");
    const auto entries = read_range(source, table->offset, table->size);
    if (!entries) return malformed(label, "the symbol table lies outside the file");
    SymbolsBuilder builder;
    const auto& format = header->format;
    builder.set_word_size(format.is_64_bit ? WordSize::bits_64 : WordSize::bits_32);
    if (!(format.is_64_bit ? add_symbols<Elf64_Sym>(builder, entries->all(), as_text(names->all()), format)
                           : add_symbols<Elf32_Sym>(builder, entries->all(), as_text(names->all()), format)))
        return malformed(label, fmt::format("more than {} symbols", SymbolsBuilder::max_symbols));
    auto symbols = builder.finish(fmt::format("the symbol table of {}", label));
    if (symbols.count() == 0) return malformed(label, "the symbol table has no symbols");
    if (auto banner = banner_in(source, *header, symbols)) symbols.set_banner(std::move(*banner));
    return symbols;
}

} // namespace kmodguard::symbols
