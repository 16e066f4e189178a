// SPDX-License-Identifier: AGPL-3.0-only
//
// Packs test images as module files are packed, and makes the streams that no packer would.
#pragma once

#include "modules/decompress.hpp"
#include "modules/elf_builder.hpp"

#include <lzma.h>

#include <initializer_list>
#include <span>

namespace kmodguard::test {

void require_packed(bool done);

Bytes pack_gzip(std::span<const std::byte> content);

/// With the options that the kernel's build uses: a small dictionary, and CRC32.
Bytes pack_xz(std::span<const std::byte> content, lzma_check check = LZMA_CHECK_CRC32);

Bytes pack_zstd(std::span<const std::byte> content, bool with_checksum = true);

Bytes pack(std::span<const std::byte> content, modules::Container container);

Bytes joined(const Bytes& one, const Bytes& other);

Bytes octets(std::initializer_list<unsigned> values);

/// A gzip member with `fields` in its header, behind the ten bytes that every member has.
Bytes with_gzip_fields(Bytes member, unsigned flags, const Bytes& fields);

/// An xz stream whose block asks for the dictionary that `property` stands for: 28 is 64 MiB, 30 is 128 MiB,
/// 40 is 4 GiB.
Bytes with_xz_dictionary(Bytes stream, unsigned property);

} // namespace kmodguard::test
