// SPDX-License-Identifier: AGPL-3.0-only
//
// ELF images for tests, right or wrong in one place at a time. Every field can be set to what no linker would
// write; all that is not set is as in a module from kbuild.
#pragma once

#include <elf.h>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace kmodguard::test {

using Bytes = std::vector<std::byte>;

struct Section {
    std::string name;
    std::string content;
    std::uint32_t type = SHT_PROGBITS;
    std::uint64_t flags = SHF_ALLOC;
    std::uint32_t info = 0;
    std::optional<std::uint64_t> offset = std::nullopt; ///< instead of where the content is
    std::optional<std::uint64_t> size = std::nullopt;   ///< instead of its length
    std::optional<std::uint32_t> name_offset = std::nullopt;
    std::uint64_t address = 0;
    std::uint32_t link = 0;
};

/// What the ELF header says instead of the truth.
struct HeaderLies {
    std::optional<std::uint8_t> elf_class = std::nullopt;
    std::optional<std::uint8_t> byte_order = std::nullopt;
    std::optional<std::uint16_t> type = std::nullopt;
    std::optional<std::uint16_t> header_size = std::nullopt;
    std::optional<std::uint64_t> program_headers = std::nullopt;
    std::optional<std::uint64_t> section_headers = std::nullopt;
    std::optional<std::uint16_t> section_header_size = std::nullopt;
    std::optional<std::uint16_t> section_count = std::nullopt;
    std::optional<std::uint16_t> name_table = std::nullopt;
};

struct ElfSpec {
    bool is_64_bit = true;
    std::endian order = std::endian::little;
    std::uint16_t machine = EM_X86_64;
    std::vector<Section> sections; ///< without section 0 and the section name table, which comes last
    HeaderLies lies;
    Section null = {.name = "", .content = "", .type = SHT_NULL, .flags = 0};
    Section names = {.name = ".shstrtab", .content = "", .type = SHT_STRTAB, .flags = 0};
    bool terminate_names = true;

    [[nodiscard]] Section& section(std::string_view name);
};

std::string padded(std::string text, std::size_t size);

/// The content of .gnu.linkonce.this_module: state, list head, name, and more.
std::string struct_module(bool is_64_bit, std::string_view name);

/// Records joined by NULs, the last one terminated.
std::string modinfo(const std::vector<std::string>& records);

/// A module as kbuild makes it. Section indices: 1 .text, 2 .modinfo, 3 .gnu.linkonce.this_module, 4
/// .shstrtab.
ElfSpec module_spec(std::string_view name, bool is_64_bit = true, std::endian order = std::endian::little);

[[nodiscard]] Bytes build(const ElfSpec& spec);

[[nodiscard]] Bytes to_bytes(std::string_view text);

} // namespace kmodguard::test
