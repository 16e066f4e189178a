// SPDX-License-Identifier: AGPL-3.0-only
//
// The image that `kmodctl doctor` hands to the kernel to see whether it is judged. No policy allows a module
// of its name, so a guard refuses it; and where none does, the kernel does: it is of no machine, and there is
// nothing in it but a name.
#pragma once

#include "core/names.hpp"
#include "modules/decompress.hpp"
#include "sys/result.hpp"

#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

namespace kmodguard::ctl {

using core::canary_name;

/// A relocatable ELF file of the byte order that this program runs in, with the section that names a module.
[[nodiscard]] std::vector<std::byte> canary_image();

/// `image` as module files are compressed, for kernels that decompress them.
[[nodiscard]] sys::Result<std::vector<std::byte>> compress(std::span<const std::byte> image,
                                                           modules::Container container);

} // namespace kmodguard::ctl
