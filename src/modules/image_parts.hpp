// SPDX-License-Identifier: AGPL-3.0-only
//
// What image.cpp puts together. Of ELF that is the part that says which module an image is: the sections
// .gnu.linkonce.this_module and .modinfo, and the name in the first. Nothing else of the file is looked at.
#pragma once

#include "modules/image.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace kmodguard::modules {

struct ElfModule {
    ElfFormat format;
    std::vector<ElfSection> sections;   ///< by index, section 0 included
    std::size_t this_module = 0;        ///< index of .gnu.linkonce.this_module
    std::optional<std::size_t> modinfo; ///< index of .modinfo, if there is one
};

/// Finds the two sections as the kernel finds them, and refuses every image of which two kernels, or this
/// function and a kernel, could read different names (see the .cpp file). Fails with `invalid` and what is
/// wrong with the image, or with the source's error. Reads at most some 12 MiB, however large the image.
/// Source: elf_validity_check, setup_load_info and find_sec of kernel/module/main.c, Linux 6.1 to 6.18.
[[nodiscard]] sys::Result<ElfModule> read_elf_module(ByteSource& source);

/// The `name` of the struct module in .gnu.linkonce.this_module: what the kernel registers. Fails with
/// `invalid` unless it is a NUL-terminated module name, zero to the end of its array, that no relocation
/// rewrites. `name_offset` is where the member lies; by default where it does in every kernel whose structure
/// layout is not randomised (CONFIG_RANDSTRUCT): after the state and the list head, at 24 or 12 bytes.
/// Source: include/linux/module.h.
[[nodiscard]] sys::Result<std::string> read_struct_module_name(ByteSource& source, const ElfModule& module,
                                                               std::optional<std::uint32_t> name_offset);

/// Reads the signature of `source`, at most 64 KiB of it. A signature that cannot be read is a Signature with
/// a problem; only a source that cannot be read is an error. Source: include/linux/module_signature.h,
/// scripts/sign-file.c.
[[nodiscard]] sys::Result<Signature> read_signature(ByteSource& source);

/// Whether there is one at all. The kernel takes an image without for unsigned; one with it may be no good.
[[nodiscard]] sys::Result<bool> has_signature(ByteSource& source);

} // namespace kmodguard::modules
