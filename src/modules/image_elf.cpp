// SPDX-License-Identifier: AGPL-3.0-only
//
// Read by hand, not with libelf, because the question is not what the ELF specification says but what the
// kernel does, and the two differ where it matters here. The kernel takes e_shnum and e_shstrndx as they
// stand (libelf follows the SHN_XINDEX forms), ignores the class and byte order in e_ident (libelf obeys
// them), and picks sections by rules of its own. libelf also wants the whole image mapped or in memory.
//
// The kernel's rules have changed: up to 6.2 the first section of a name counts, if it has SHF_ALLOC,
// whatever its type; since then exactly one must bear it, SHT_NULL and SHT_NOBITS not counted. So a section
// of index 1 or higher with one of the two names must be alone, SHT_PROGBITS and SHF_ALLOC. All versions then
// agree on it.
//
// Class and byte order need no table of machines. A kernel demands e_type == ET_REL in its own byte order, so
// an image has one order at most. A 32-bit and a 64-bit kernel could find a section table each, but not here:
//  - as ELF32, e_ehsize == 52 is demanded; that is the top of a 64-bit kernel's e_shoff (bytes 40 to 47) if
//  it is
//    big-endian, and e_shentsize == 40 is if it is little-endian: beyond 2^53, so outside the image;
//  - as ELF64, e_phoff == 0 is demanded; that is a 32-bit kernel's e_shoff (bytes 32 to 35), so its section 0
//    would be the ELF magic, and not SHT_NULL.
// So an image that passes as one class is valid as no other, whatever its e_ident says.
//
// The kernel writes into its copy of the image before it copies the sections out: sh_addr of all headers, and
// on some architectures it sorts relocations in place. So a section read here may share no byte with the
// headers or with another section.
#include "core/names.hpp"
#include "modules/image_parts.hpp"

#include <elf.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

namespace kmodguard::modules {
namespace {

constexpr std::string_view this_module_section = ".gnu.linkonce.this_module";
constexpr std::string_view modinfo_section = ".modinfo";
/// The kernel has no limit; a real table is some hundred bytes, with a section for each function some 100
/// KiB.
constexpr std::uint64_t max_name_table = 8U << 20U;
/// .rela.gnu.linkonce.this_module has two entries, for init and exit.
constexpr std::uint64_t max_relocations = 64U << 10U;

std::unexpected<sys::Error> malformed_image(std::string what) {
    return sys::failure(sys::ErrorKind::invalid, std::move(what));
}

sys::Result<ElfHeader> read_header(ByteSource& source) {
    auto header = read_elf_header(source);
    if (!header) return header;
    if (header->type != ET_REL) return malformed_image("not a relocatable ELF file in its own byte order");
    if (header->section_header_size != elf_section_header_size(header->format))
        return malformed_image("section headers of the wrong size");
    if (header->header_size != elf_header_size(header->format))
        return malformed_image("ELF header of the wrong size");
    if (header->program_headers != 0) return malformed_image("has program headers");
    return header;
}

bool has_content(const ElfSection& section) {
    return section.type != SHT_NULL && section.type != SHT_NOBITS;
}

/// The section headers, each with content that lies within the image.
sys::Result<std::vector<ElfSection>> read_sections(ByteSource& source, const ElfHeader& header) {
    auto read = read_elf_sections(source, header);
    if (!read) return read;
    const auto& sections = *read;
    if (const auto& first = sections.front(); first.type != SHT_NULL || first.size != 0 || first.address != 0)
        return malformed_image("section 0 is not empty");
    for (std::size_t i = 1; i < sections.size(); ++i) {
        const auto& section = sections[i];
        if (has_content(section)
            && (section.offset > source.size() || section.size > source.size() - section.offset))
            return malformed_image(fmt::format("section {} outside the image", i));
    }
    return read;
}

/// The section name table; NUL-terminated, and all names of `sections` begin in it.
sys::Result<Buffer> read_names(ByteSource& source, const ElfHeader& header,
                               std::span<const ElfSection> sections) {
    if (header.name_table == SHN_UNDEF || header.name_table >= sections.size())
        return malformed_image("no section name table");
    const auto& table = sections[header.name_table];
    if (table.type != SHT_STRTAB || table.size == 0) return malformed_image("section name table is none");
    if (table.size > max_name_table) return malformed_image("section name table too large");
    auto names = read_range(source, table.offset, table.size);
    if (!names) return names;
    if (names->all().back() != std::byte{0}) return malformed_image("section name table not terminated");
    for (std::size_t i = 1; i < sections.size(); ++i) {
        if (sections[i].name >= names->size())
            return malformed_image(fmt::format("section {} has no name", i));
    }
    return names;
}

/// The only section called `wanted`, if there is one.
sys::Result<std::optional<std::size_t>> find_section(std::span<const ElfSection> sections,
                                                     std::span<const std::byte> names,
                                                     std::string_view wanted) {
    std::optional<std::size_t> found;
    for (std::size_t i = 1; i < sections.size(); ++i) {
        const std::size_t begin = sections[i].name;
        if (names.size() - begin <= wanted.size() || names[begin + wanted.size()] != std::byte{0}
            || std::memcmp(names.data() + begin, wanted.data(), wanted.size()) != 0)
            continue;
        if (found) return malformed_image(fmt::format("more than one {} section", wanted));
        if (sections[i].type != SHT_PROGBITS || (sections[i].flags & SHF_ALLOC) == 0
            || (sections[i].flags & SHF_COMPRESSED) != 0)
            return malformed_image(fmt::format("the {} section is not plain loaded data", wanted));
        if (sections[i].size == 0) return malformed_image(fmt::format("the {} section is empty", wanted));
        found = i;
    }
    return found;
}

struct Range {
    std::uint64_t begin;
    std::uint64_t size;

    [[nodiscard]] bool overlaps(Range other) const {
        return size != 0 && other.size != 0 && begin < other.begin + other.size && other.begin < begin + size;
    }
};

/// Whether section `index` has its bytes to itself.
bool is_alone(const ElfHeader& header, std::span<const ElfSection> sections, std::size_t index) {
    const Range own{sections[index].offset, sections[index].size};
    if (own.overlaps({0, header.header_size})) return false;
    if (own.overlaps({header.section_headers, sections.size() * header.section_header_size})) return false;
    for (std::size_t i = 1; i < sections.size(); ++i) {
        if (i != index && has_content(sections[i]) && own.overlaps({sections[i].offset, sections[i].size}))
            return false;
    }
    return true;
}

/// Where the name lies in struct module, and how long its array is.
Range name_array(const ElfFormat& format, std::optional<std::uint32_t> offset) {
    if (format.is_64_bit) return {offset.value_or(24), 56};
    return {offset.value_or(12), 60};
}

/// Whether one of the relocations at `section` changes a byte of `target`.
sys::Result<bool> relocates(ByteSource& source, const ElfFormat& format, const ElfSection& section,
                            Range target) {
    const std::size_t word = format.is_64_bit ? 8 : 4;
    const std::size_t entry = word * (section.type == SHT_RELA ? 3 : 2);
    if (section.size > max_relocations) return malformed_image("too many relocations of struct module");
    const auto table = TRY(read_range(source, section.offset, section.size));
    for (std::size_t at = 0; at + entry <= table.size(); at += entry) {
        std::uint64_t wide = 0; // no entry is shorter
        std::uint32_t narrow = 0;
        std::memcpy(&wide, table.data() + at, sizeof wide);
        std::memcpy(&narrow, table.data() + at, sizeof narrow);
        const std::uint64_t place =
            format.is_64_bit ? in_order(wide, format.order) : in_order(narrow, format.order);
        if (place < target.begin + target.size && place + sizeof(std::uint64_t) > target.begin) return true;
    }
    return false;
}

} // namespace

sys::Result<ElfModule> read_elf_module(ByteSource& source) {
    const auto header = TRY(read_header(source));
    auto sections = TRY(read_sections(source, header));
    const auto names = TRY(read_names(source, header, sections));

    const auto this_module = TRY(find_section(sections, names.all(), this_module_section));
    if (!this_module) return malformed_image("not a kernel module: no .gnu.linkonce.this_module section");
    const auto modinfo = find_section(sections, names.all(), modinfo_section);
    if (!modinfo) return std::unexpected(modinfo.error());

    if (!is_alone(header, sections, *this_module) || (*modinfo && !is_alone(header, sections, **modinfo)))
        return malformed_image("sections overlap");
    return ElfModule{header.format, std::move(sections), *this_module, *modinfo};
}

sys::Result<std::string> read_struct_module_name(ByteSource& source, const ElfModule& module,
                                                 std::optional<std::uint32_t> name_offset) {
    const auto& section = module.sections[module.this_module];
    const Range array = name_array(module.format, name_offset);
    if (array.begin + array.size > section.size) return malformed_image("struct module too short for a name");
    std::array<char, 60> buffer{};
    const std::span bytes(buffer.data(), static_cast<std::size_t>(array.size));
    TRY(source.read(section.offset + array.begin, std::as_writable_bytes(bytes)));

    const std::string_view all(bytes.data(), bytes.size());
    const auto end = all.find('\0');
    if (end == std::string_view::npos) return malformed_image("the name in struct module is not terminated");
    if (all.find_first_not_of('\0', end) != std::string_view::npos
        || !core::is_module_name(all.substr(0, end)))
        return malformed_image("no module name where struct module has one");

    bool seen = false;
    for (const auto& other : module.sections) {
        if ((other.type != SHT_REL && other.type != SHT_RELA) || other.info != module.this_module) continue;
        if (seen) return malformed_image("struct module is relocated twice"); // linkers make one such section
        seen = true;
        const auto rewritten = TRY(relocates(source, module.format, other, array));
        if (rewritten) return malformed_image("a relocation rewrites the name in struct module");
    }
    return std::string(all.substr(0, end));
}

} // namespace kmodguard::modules
