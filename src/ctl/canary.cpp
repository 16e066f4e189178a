// SPDX-License-Identifier: AGPL-3.0-only
#include "ctl/canary.hpp"

#include <elf.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>

namespace kmodguard::ctl {
namespace {

using Bytes = std::vector<std::byte>;

/// Of name in struct module: behind its state and its place in a list (include/linux/module.h, 64-bit).
constexpr std::size_t name_offset = 24;
/// Of struct module; on any kernel the name with all its room lies within.
constexpr std::size_t module_size = 1024;

constexpr char section_names[] = "\0.gnu.linkonce.this_module\0.shstrtab";
constexpr Elf64_Word this_module_name = 1;
constexpr Elf64_Word name_table_name = this_module_name + sizeof(".gnu.linkonce.this_module");
constexpr std::size_t names_size = 64; // so that there is no padding in:
static_assert(sizeof section_names <= names_size);

/// The whole file.
struct CanaryImage {
    Elf64_Ehdr header{};
    Elf64_Shdr sections[3]{}; ///< none, .gnu.linkonce.this_module, .shstrtab
    char module[module_size]{};
    char names[names_size]{};
};

sys::Result<Bytes> cannot_compress() {
    return sys::failure(sys::ErrorKind::failed, "cannot compress the canary");
}

/// As the kernel's own decompressor takes it: it knows no check but CRC32.
sys::Result<Bytes> pack_xz(std::span<const std::byte> image) {
    Bytes compressed(::lzma_stream_buffer_bound(image.size()));
    std::size_t used = 0;
    const auto done = ::lzma_easy_buffer_encode(
        0, LZMA_CHECK_CRC32, nullptr, reinterpret_cast<const std::uint8_t*>(image.data()), image.size(),
        reinterpret_cast<std::uint8_t*>(compressed.data()), &used, compressed.size());
    if (done != LZMA_OK) return cannot_compress();
    compressed.resize(used);
    return compressed;
}

sys::Result<Bytes> pack_zstd(std::span<const std::byte> image) {
    Bytes compressed(::ZSTD_compressBound(image.size()));
    const std::size_t used = ::ZSTD_compress(compressed.data(), compressed.size(), image.data(), image.size(),
                                             ZSTD_CLEVEL_DEFAULT);
    if (::ZSTD_isError(used) != 0) return cannot_compress();
    compressed.resize(used);
    return compressed;
}

sys::Result<Bytes> pack_gzip(std::span<const std::byte> image) {
    constexpr int gzip_header = 16; // added to the window's size, as zlib has it
    z_stream stream{};
    if (deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, gzip_header + MAX_WBITS, MAX_MEM_LEVEL,
                     Z_DEFAULT_STRATEGY)
        != Z_OK)
        return cannot_compress();
    Bytes input(image.begin(), image.end()); // next_in is not const
    Bytes compressed(::deflateBound(&stream, image.size()));
    stream.next_in = reinterpret_cast<Bytef*>(input.data());
    stream.avail_in = static_cast<uInt>(input.size());
    stream.next_out = reinterpret_cast<Bytef*>(compressed.data());
    stream.avail_out = static_cast<uInt>(compressed.size());
    const bool done = ::deflate(&stream, Z_FINISH) == Z_STREAM_END;
    compressed.resize(stream.total_out);
    ::deflateEnd(&stream);
    if (!done) return cannot_compress();
    return compressed;
}

} // namespace

Bytes canary_image() {
    CanaryImage image;
    std::memcpy(image.header.e_ident, ELFMAG, SELFMAG);
    image.header.e_ident[EI_CLASS] = ELFCLASS64;
    image.header.e_ident[EI_DATA] = std::endian::native == std::endian::little ? ELFDATA2LSB : ELFDATA2MSB;
    image.header.e_ident[EI_VERSION] = EV_CURRENT;
    image.header.e_type = ET_REL;
    image.header.e_machine = EM_NONE; // that of no kernel, which looks at this before anything else
    image.header.e_version = EV_CURRENT;
    image.header.e_shoff = offsetof(CanaryImage, sections);
    image.header.e_ehsize = sizeof(Elf64_Ehdr);
    image.header.e_shentsize = sizeof(Elf64_Shdr);
    image.header.e_shnum = std::size(image.sections);
    image.header.e_shstrndx = 2;

    Elf64_Shdr& module = image.sections[1];
    module.sh_name = this_module_name;
    module.sh_type = SHT_PROGBITS;
    module.sh_flags = SHF_ALLOC | SHF_WRITE;
    module.sh_offset = offsetof(CanaryImage, module);
    module.sh_size = sizeof image.module;
    module.sh_addralign = 1;
    std::ranges::copy(canary_name, image.module + name_offset);

    Elf64_Shdr& names = image.sections[2];
    names.sh_name = name_table_name;
    names.sh_type = SHT_STRTAB;
    names.sh_offset = offsetof(CanaryImage, names);
    names.sh_size = sizeof section_names;
    names.sh_addralign = 1;
    std::memcpy(image.names, section_names, sizeof section_names);

    const auto bytes = std::as_bytes(std::span(&image, 1));
    return {bytes.begin(), bytes.end()};
}

sys::Result<Bytes> compress(std::span<const std::byte> image, modules::Container container) {
    switch (container) {
    case modules::Container::xz: return pack_xz(image);
    case modules::Container::zstd: return pack_zstd(image);
    case modules::Container::gzip: return pack_gzip(image);
    case modules::Container::raw: break;
    }
    return Bytes(image.begin(), image.end());
}

} // namespace kmodguard::ctl
