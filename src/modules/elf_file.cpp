// SPDX-License-Identifier: AGPL-3.0-only
#include "modules/elf_file.hpp"

#include <elf.h>

#include <array>
#include <cstring>
#include <string>
#include <utility>

namespace kmodguard::modules {
namespace {

std::unexpected<sys::Error> malformed_elf(std::string what) {
    return sys::failure(sys::ErrorKind::invalid, std::move(what));
}

template <typename Ehdr>
sys::Result<ElfHeader> decode_header(ByteSource& source, ElfFormat format) {
    Ehdr raw{};
    if (!source.read(0, std::as_writable_bytes(std::span(&raw, 1))))
        return malformed_elf("ends in the ELF header");
    const auto value = [&format](auto field) { return in_order(field, format.order); };
    format.machine = value(raw.e_machine);
    return ElfHeader{.format = format,
                     .type = value(raw.e_type),
                     .header_size = value(raw.e_ehsize),
                     .program_headers = value(raw.e_phoff),
                     .program_header_size = value(raw.e_phentsize),
                     .program_header_count = value(raw.e_phnum),
                     .section_headers = value(raw.e_shoff),
                     .section_header_size = value(raw.e_shentsize),
                     .section_count = value(raw.e_shnum),
                     .name_table = value(raw.e_shstrndx)};
}

template <typename Shdr>
ElfSection decode_section(const Shdr& raw, std::endian order) {
    return {.name = in_order(raw.sh_name, order),
            .type = in_order(raw.sh_type, order),
            .flags = in_order(raw.sh_flags, order),
            .address = in_order(raw.sh_addr, order),
            .offset = in_order(raw.sh_offset, order),
            .size = in_order(raw.sh_size, order),
            .link = in_order(raw.sh_link, order),
            .info = in_order(raw.sh_info, order)};
}

template <typename Phdr>
ElfSegment decode_segment(const Phdr& raw, std::endian order) {
    return {.type = in_order(raw.p_type, order),
            .offset = in_order(raw.p_offset, order),
            .address = in_order(raw.p_vaddr, order),
            .file_size = in_order(raw.p_filesz, order),
            .memory_size = in_order(raw.p_memsz, order)};
}

/// Each `Raw` of `table`, decoded.
template <typename Raw, typename Decode>
auto decode_table(std::span<const std::byte> table, std::endian order, Decode decode) {
    std::vector<decltype(decode(Raw{}, order))> entries;
    entries.reserve(table.size() / sizeof(Raw));
    for (; table.size() >= sizeof(Raw); table = table.subspan(sizeof(Raw))) {
        Raw raw;
        std::memcpy(&raw, table.data(), sizeof raw);
        entries.push_back(decode(raw, order));
    }
    return entries;
}

} // namespace

std::size_t elf_header_size(const ElfFormat& format) {
    return format.is_64_bit ? sizeof(Elf64_Ehdr) : sizeof(Elf32_Ehdr);
}

std::size_t elf_section_header_size(const ElfFormat& format) {
    return format.is_64_bit ? sizeof(Elf64_Shdr) : sizeof(Elf32_Shdr);
}

sys::Result<bool> may_be_elf(ByteSource& source) {
    if (source.size() < sizeof(Elf32_Ehdr)) return false;
    std::array<unsigned char, SELFMAG> magic{};
    TRY(source.read(0, std::as_writable_bytes(std::span(magic))));
    return std::memcmp(magic.data(), ELFMAG, SELFMAG) == 0;
}

sys::Result<ElfHeader> read_elf_header(ByteSource& source) {
    std::array<unsigned char, EI_NIDENT> ident{};
    if (source.size() < ident.size()) return malformed_elf("not an ELF file: too short");
    TRY(source.read(0, std::as_writable_bytes(std::span(ident))));
    if (std::memcmp(ident.data(), ELFMAG, SELFMAG) != 0) return malformed_elf("not an ELF file");

    ElfFormat format;
    if (ident[EI_DATA] != ELFDATA2LSB && ident[EI_DATA] != ELFDATA2MSB)
        return malformed_elf("unknown ELF byte order");
    format.order = ident[EI_DATA] == ELFDATA2LSB ? std::endian::little : std::endian::big;
    format.is_64_bit = ident[EI_CLASS] == ELFCLASS64;
    if (format.is_64_bit) return decode_header<Elf64_Ehdr>(source, format);
    if (ident[EI_CLASS] == ELFCLASS32) return decode_header<Elf32_Ehdr>(source, format);
    return malformed_elf("unknown ELF class");
}

sys::Result<std::vector<ElfSection>> read_elf_sections(ByteSource& source, const ElfHeader& header) {
    if (header.section_header_size != elf_section_header_size(header.format))
        return malformed_elf("section headers of the wrong size");
    if (header.section_count == 0) return malformed_elf("no section headers");
    const std::uint64_t size = header.section_count * header.section_header_size;
    if (header.section_headers >= source.size() || size > source.size() - header.section_headers)
        return malformed_elf("section headers outside the image");
    const auto table = TRY(read_range(source, header.section_headers, size));
    const auto order = header.format.order;
    return header.format.is_64_bit ? decode_table<Elf64_Shdr>(table.all(), order, decode_section<Elf64_Shdr>)
                                   : decode_table<Elf32_Shdr>(table.all(), order, decode_section<Elf32_Shdr>);
}

sys::Result<std::vector<ElfSegment>> read_elf_segments(ByteSource& source, const ElfHeader& header) {
    if (header.program_header_count == 0) return std::vector<ElfSegment>{};
    const auto order = header.format.order;
    if (header.program_header_size != (header.format.is_64_bit ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr)))
        return malformed_elf("program headers of the wrong size");
    const std::uint64_t size = header.program_header_count * header.program_header_size;
    if (header.program_headers >= source.size() || size > source.size() - header.program_headers)
        return malformed_elf("program headers outside the image");
    const auto table = TRY(read_range(source, header.program_headers, size));
    return header.format.is_64_bit ? decode_table<Elf64_Phdr>(table.all(), order, decode_segment<Elf64_Phdr>)
                                   : decode_table<Elf32_Phdr>(table.all(), order, decode_segment<Elf32_Phdr>);
}

} // namespace kmodguard::modules
