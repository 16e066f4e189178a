// SPDX-License-Identifier: AGPL-3.0-only
//
// Kernels in the wrappers that each architecture and boot loader puts them in.
#include "modules/elf_file.hpp"
#include "modules/image_packing.hpp"
#include "symbols/kernel_builder.hpp"
#include "symbols/kernel_image.hpp"
#include "temporary_directory.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <fstream>

namespace kmodguard::symbols {
namespace {

using test::Bytes;
using test::joined;
using test::octets;
using test::pack_gzip;
using test::pack_xz;
using test::pack_zstd;
using test::to_bytes;

const Bytes& kernel() {
    static const auto made =
        test::build_kernel(test::spec_of(test::Generation::v6_4, true, std::endian::little));
    return made.bytes;
}

template <typename T>
void set(Bytes& bytes, std::size_t at, T value, std::endian order = std::endian::little) {
    value = modules::in_order(value, order);
    std::memcpy(bytes.data() + at, &value, sizeof value);
}

void set_text(Bytes& bytes, std::size_t at, std::string_view text) {
    std::memcpy(bytes.data() + at, text.data(), text.size());
}

/// LZ4's legacy frame with literals only, in blocks of 8 MiB.
Bytes pack_lz4(const Bytes& content) {
    auto packed = octets({0x02, 0x21, 0x4C, 0x18});
    constexpr std::size_t block = 8U << 20U;
    for (std::size_t at = 0; at < content.size(); at += block) {
        const auto size = std::min(block, content.size() - at);
        Bytes sequence = octets({0xF0});
        for (auto rest = size - 15;; rest -= 255) {
            sequence.push_back(static_cast<std::byte>(std::min<std::size_t>(rest, 255)));
            if (rest < 255) break;
        }
        const auto begin = content.begin() + static_cast<std::ptrdiff_t>(at);
        sequence.insert(sequence.end(), begin, begin + static_cast<std::ptrdiff_t>(size));
        Bytes header(4);
        set(header, 0, static_cast<std::uint32_t>(sequence.size()));
        packed = joined(joined(packed, header), sequence);
    }
    return packed;
}

Bytes pack_lzma(const Bytes& content) {
    lzma_options_lzma options{};
    EXPECT_EQ(::lzma_lzma_preset(&options, LZMA_PRESET_DEFAULT), 0);
    lzma_stream stream = LZMA_STREAM_INIT;
    EXPECT_EQ(::lzma_alone_encoder(&stream, &options), LZMA_OK);
    Bytes packed(content.size() + 1000);
    stream.next_in = reinterpret_cast<const std::uint8_t*>(content.data());
    stream.avail_in = content.size();
    stream.next_out = reinterpret_cast<std::uint8_t*>(packed.data());
    stream.avail_out = packed.size();
    EXPECT_EQ(::lzma_code(&stream, LZMA_FINISH), LZMA_STREAM_END);
    packed.resize(stream.total_out);
    ::lzma_end(&stream);
    return packed;
}

Bytes bzimage(const Bytes& payload) {
    constexpr std::size_t setup_sectors = 3;
    constexpr std::size_t payload_offset = 0x100;
    Bytes image((setup_sectors + 1) * 512 + payload_offset);
    image[0x1F1] = std::byte{setup_sectors};
    set_text(image, 0x202, "HdrS");
    set<std::uint16_t>(image, 0x206, 0x20F);
    set<std::uint32_t>(image, 0x248, payload_offset);
    set<std::uint32_t>(image, 0x24C, static_cast<std::uint32_t>(payload.size()));
    return joined(joined(image, payload), Bytes(5000, std::byte{0xCC}));
}

Bytes uimage(const Bytes& content) {
    Bytes header(64);
    set<std::uint32_t>(header, 0, 0x27051956, std::endian::big);
    set<std::uint32_t>(header, 12, static_cast<std::uint32_t>(content.size()), std::endian::big);
    return joined(joined(header, content), Bytes(300, std::byte{0xFF}));
}

Bytes zboot(const Bytes& payload) {
    Bytes header(512);
    set_text(header, 0, "MZ");
    set_text(header, 4, "zimg");
    set<std::uint32_t>(header, 8, 512);
    set<std::uint32_t>(header, 12, static_cast<std::uint32_t>(payload.size()));
    return joined(joined(header, payload), Bytes(100));
}

/// A decompressor before, a device tree after: as a zImage, or a vmlinuz of MIPS.
Bytes with_code_around(const Bytes& payload) {
    auto code = octets({0x7F, 'E', 'L', 'F', 1, 1});
    code.resize(20'001, std::byte{0xE1});
    set_text(code, 5000, "\x1F\x8B\x08\xFF"); // looks like a stream, and is none
    set_text(code, 6000,
             std::string_view("\xFD"
                              "7zXZ\0",
                              6));
    return joined(joined(code, payload), Bytes(777, std::byte{0xD0}));
}

void expect_unpacked(const Bytes& file, std::string_view form) {
    const auto image = decompress_kernel(file);
    ASSERT_TRUE(image) << image.error().what;
    EXPECT_EQ(image->form, form);
    EXPECT_TRUE(image->bytes == kernel()) << image->bytes.size();
}

std::string error_of_image(const Bytes& file) {
    const auto image = decompress_kernel(file);
    return image ? "" : image.error().what;
}

TEST(KernelImage, ThatIsFlatIsLeftAlone) {
    const auto image = decompress_kernel(kernel());
    ASSERT_TRUE(image);
    EXPECT_TRUE(image->bytes.empty());
    EXPECT_EQ(image->form, "");
}

TEST(KernelImage, IsUnpackedFromEveryCodec) {
    const auto size = octets({0x11, 0x22, 0x33, 0x00}); // scripts/Makefile.lib appends it
    expect_unpacked(pack_gzip(kernel()), "gzip");
    expect_unpacked(joined(pack_xz(kernel()), size), "xz");
    expect_unpacked(joined(pack_zstd(kernel()), size), "zstd");
    expect_unpacked(joined(pack_lzma(kernel()), size), "LZMA");
    expect_unpacked(joined(pack_lz4(kernel()), size), "LZ4");
}

TEST(KernelImage, IsUnwrapped) {
    expect_unpacked(bzimage(pack_xz(kernel())), "bzImage, xz");
    expect_unpacked(bzimage(pack_lz4(kernel())), "bzImage, LZ4");
    expect_unpacked(zboot(pack_zstd(kernel())), "EFI zboot, zstd");
    expect_unpacked(uimage(kernel()), "uImage");
    expect_unpacked(uimage(pack_lzma(kernel())), "uImage, LZMA");
    expect_unpacked(with_code_around(pack_gzip(kernel())), "gzip");
    expect_unpacked(uimage(with_code_around(pack_xz(kernel()))), "uImage, xz");
    expect_unpacked(pack_gzip(uimage(pack_lzma(kernel()))), "gzip, uImage, LZMA");
}

TEST(KernelImage, InTooManyWrappersIsRefused) {
    auto file = kernel();
    for (int i = 0; i < 7; ++i)
        file = pack_gzip(file);
    EXPECT_EQ(error_of_image(file),
              "more than 6 wrappers, one in another: gzip, gzip, gzip, gzip, gzip, gzip");
}

TEST(KernelImage, OfAnUnsupportedCodecIsNamed) {
    EXPECT_EQ(error_of_image(bzimage(to_bytes("BZh91AY&SYxxxx"))),
              "bzImage: compressed with bzip2, which is not supported");
    EXPECT_EQ(error_of_image(with_code_around(octets({0x89, 'L', 'Z', 'O', 0, 0x0D, 0x0A, 0x1A, 0x0A}))),
              "no kernel in it that can be decompressed: compressed with LZO, which is not supported");
}

TEST(KernelImage, ThatIsDamagedSaysWhereAndHow) {
    auto packed = pack_xz(kernel());
    packed.resize(packed.size() / 2);
    EXPECT_EQ(error_of_image(bzimage(packed)), "bzImage: xz: cut off");
    EXPECT_EQ(error_of_image(uimage(Bytes{})),
              "uImage: neither a kernel that lists its symbols (CONFIG_KALLSYMS), nor a compressed one");
    EXPECT_EQ(error_of_image({}),
              "neither a kernel that lists its symbols (CONFIG_KALLSYMS), nor a compressed one");
}

TEST(KernelImage, HeadersMayBeCutOffAnywhere) {
    const auto packed = pack_zstd(kernel());
    for (const auto& whole : {bzimage(packed), zboot(packed), uimage(packed)}) {
        for (std::size_t size = 0; size < 1200; size += 7)
            EXPECT_NE(error_of_image(Bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size))),
                      "");
    }
}

TEST(KernelImage, HeadersMayPointAnywhere) {
    const auto packed = pack_gzip(kernel());
    for (const std::uint32_t value : {0U, 1U, 0x7FFF'FFFFU, 0xFFFF'FFFFU}) {
        auto linux_image = bzimage(packed);
        set(linux_image, 0x248, value);
        set(linux_image, 0x24C, value);
        static_cast<void>(decompress_kernel(linux_image));
        auto efi_image = zboot(packed);
        set(efi_image, 8, value);
        set(efi_image, 12, value);
        static_cast<void>(decompress_kernel(efi_image));
    }
}

std::string write_file(const test::TemporaryDirectory& directory, const std::string& name,
                       const Bytes& content) {
    const auto path = (directory.path() / name).native();
    std::ofstream(path, std::ios::binary)
        .write(reinterpret_cast<const char*>(content.data()), static_cast<std::streamsize>(content.size()));
    return path;
}

TEST(ReadSymbols, TellsFilesByTheirContent) {
    const test::TemporaryDirectory directory;
    const auto text = to_bytes("ffffffff81149680 t load_module\n");
    for (const auto& content : {text, pack_gzip(text), pack_xz(text), pack_zstd(text)}) {
        const auto symbols = read_symbols(write_file(directory, "vmlinuz", content));
        ASSERT_TRUE(symbols) << symbols.error().what;
        EXPECT_EQ(symbols->count(), 1U);
    }
    const auto path = write_file(directory, "System.map", bzimage(pack_zstd(kernel())));
    const auto symbols = read_symbols(path);
    ASSERT_TRUE(symbols) << symbols.error().what;
    EXPECT_EQ(symbols->source(), "the kernel's own tables of " + path + " (bzImage, zstd)");
    EXPECT_EQ(symbols->find("load_module").size(), 1U);
    EXPECT_EQ(read_symbols(write_file(directory, "x", pack_gzip(uimage(pack_xz(kernel())))))->source(),
              "the kernel's own tables of " + (directory.path() / "x").native() + " (gzip, uImage, xz)");
}

TEST(ReadSymbols, NamesTheFileInErrors) {
    const test::TemporaryDirectory directory;
    const auto path = write_file(directory, "noise", Bytes(5000, std::byte{0x55}));
    const auto symbols = read_symbols(path);
    ASSERT_FALSE(symbols);
    EXPECT_EQ(symbols.error().kind, sys::ErrorKind::invalid);
    EXPECT_EQ(symbols.error().what,
              path + ": neither a kernel that lists its symbols (CONFIG_KALLSYMS), nor a compressed one");
    EXPECT_EQ(read_symbols(directory.path() / "missing").error().kind, sys::ErrorKind::not_found);
    EXPECT_FALSE(read_symbols(directory.path()));
}

} // namespace
} // namespace kmodguard::symbols
