// SPDX-License-Identifier: AGPL-3.0-only
//
// From the file that QEMU is given as `-kernel` to the kernel that runs. Each architecture packs its kernel
// in a way of its own, and firmware adds more wrappers; but all of them are few, and all end in a compressed
// stream.
#pragma once

#include "sys/result.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kmodguard::symbols {

/// Bytes of the largest kernel image that is decompressed.
inline constexpr std::uint64_t max_kernel_image = 512ULL << 20U;

struct KernelImage {
    std::vector<std::byte> bytes; ///< empty: the file's own bytes are the kernel
    std::string form; ///< how it was compressed, outermost first: "bzImage, xz"; empty if it was not
};

/// Unwraps uImage, bzImage, EFI zboot, and streams of gzip, xz, LZMA, zstd and LZ4, one in another if need
/// be; where no header says so (zImage, a vmlinuz of MIPS, anything else), the first stream that decompresses
/// to a kernel. Looks at no more than a dozen streams and 1 GiB of what they decompress to. Fails with
/// `invalid` if a stream is damaged, or of a compression that is not supported, which the error names.
/// Sources: arch/x86/boot/header.S and Documentation/arch/x86/boot.rst,
/// drivers/firmware/efi/libstub/zboot-header.S, arch/arm/boot/compressed/head.S, scripts/Makefile.lib,
/// include/image.h of U-Boot.
[[nodiscard]] sys::Result<KernelImage> decompress_kernel(std::span<const std::byte> file);

/// The kinds of scripts/Makefile.lib; bzip2 and LZO are known by name only.
enum class Codec : std::uint8_t { gzip, xz, lzma, zstd, lz4, bzip2, lzo };

[[nodiscard]] std::string_view
to_string(Codec codec); ///< "gzip", "xz", "LZMA", "zstd", "LZ4", "bzip2", "LZO"

/// By the first bytes; of LZMA, which has no magic number, by a header as kernels have it.
[[nodiscard]] std::optional<Codec> codec_of(std::span<const std::byte> beginning);

/// Where the next stream may begin, at `from` or later.
struct StreamStart {
    std::size_t offset;
    Codec codec;
};
[[nodiscard]] std::optional<StreamStart> find_stream(std::span<const std::byte> bytes, std::size_t from);

/// What the stream at the beginning of `compressed` decompresses to; what follows the stream does not matter.
/// Fails with `invalid` if it is damaged or cut off, decompresses to more than `limit` bytes, or is of a
/// codec that is not supported. LZ4 is the legacy frame format, whose end is not marked: its content is what
/// decodes.
[[nodiscard]] sys::Result<std::vector<std::byte>>
decompress_stream(Codec codec, std::span<const std::byte> compressed, std::uint64_t limit);

} // namespace kmodguard::symbols
