// SPDX-License-Identifier: AGPL-3.0-only
//
// The headers of an ELF file of either class and byte order, brought into one form. What a header must say to
// be a module, or a kernel, is not decided here: each reader has rules of its own.
#pragma once

#include "modules/image_source.hpp"
#include "sys/result.hpp"

#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace kmodguard::modules {

/// How an image is to be read: by what kernel it was built for.
struct ElfFormat {
    bool is_64_bit = false;
    std::endian order = std::endian::little;
    std::uint16_t machine = 0; ///< e_machine, for example EM_X86_64

    bool operator==(const ElfFormat&) const = default;
};

/// The ELF header, in this machine's byte order and widened to 64 bits; as the file states it, unchecked.
struct ElfHeader {
    ElfFormat format;
    std::uint16_t type = 0;            ///< e_type, for example ET_REL
    std::uint64_t header_size = 0;     ///< e_ehsize
    std::uint64_t program_headers = 0; ///< offset
    std::uint64_t program_header_size = 0;
    std::uint16_t program_header_count = 0;
    std::uint64_t section_headers = 0; ///< offset
    std::uint64_t section_header_size = 0;
    std::uint16_t section_count = 0;
    std::uint16_t name_table = 0; ///< section index
};

/// A section header, in this machine's byte order and widened to 64 bits.
struct ElfSection {
    std::uint32_t name = 0; ///< offset in the section name table
    std::uint32_t type = 0;
    std::uint64_t flags = 0;
    std::uint64_t address = 0;
    std::uint64_t offset = 0;
    std::uint64_t size = 0;
    std::uint32_t link = 0;
    std::uint32_t info = 0;
};

/// A program header, in this machine's byte order and widened to 64 bits.
struct ElfSegment {
    std::uint32_t type = 0;
    std::uint64_t offset = 0;
    std::uint64_t address = 0; ///< virtual
    std::uint64_t file_size = 0;
    std::uint64_t memory_size = 0;
};

/// `value` as a file of byte order `order` means it.
template <typename T>
[[nodiscard]] constexpr T in_order(T value, std::endian order) {
    return order == std::endian::native ? value : std::byteswap(value);
}

/// Bytes of a class's own structure, which a header's stated size must be.
[[nodiscard]] std::size_t elf_header_size(const ElfFormat& format);
[[nodiscard]] std::size_t elf_section_header_size(const ElfFormat& format);

/// Whether a kernel could take the beginning for an ELF file's at all: it is as long as the shorter kind of
/// header, and has the magic number. Fails only if it cannot be read.
[[nodiscard]] sys::Result<bool> may_be_elf(ByteSource& source);

/// Fails with `invalid` if this is no ELF file, or one of an unknown class or byte order.
/// Source: the ELF specification (gABI), chapter 4.
[[nodiscard]] sys::Result<ElfHeader> read_elf_header(ByteSource& source);

/// All section headers, by index; at most 65535. Fails with `invalid` if there are none, or they lie outside
/// the file, or are of another size than the class's. What they point at is not looked at.
[[nodiscard]] sys::Result<std::vector<ElfSection>> read_elf_sections(ByteSource& source,
                                                                     const ElfHeader& header);

/// All program headers; none is no error. Otherwise like read_elf_sections.
[[nodiscard]] sys::Result<std::vector<ElfSegment>> read_elf_segments(ByteSource& source,
                                                                     const ElfHeader& header);

} // namespace kmodguard::modules
