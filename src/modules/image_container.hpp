// SPDX-License-Identifier: AGPL-3.0-only
//
// What an image file is compressed in, found as the kernel and libkmod do: by its first bytes. A file's name
// says nothing, for the one who wrote the file chose it.
#pragma once

#include "modules/image_source.hpp"
#include "sys/result.hpp"

#include <cstddef>
#include <span>
#include <string_view>

namespace kmodguard::modules {

enum class Container { raw, gzip, xz, zstd };

[[nodiscard]] std::string_view to_string(Container container); ///< "raw", "gzip", "xz", "zstd"

/// By the magic number, never by a file's name. Anything unknown, too short or empty is raw.
[[nodiscard]] Container container_of(std::span<const std::byte> beginning);

/// The same, of a source's first bytes; fails only if they cannot be read.
[[nodiscard]] sys::Result<Container> container_of(ByteSource& source);

} // namespace kmodguard::modules
