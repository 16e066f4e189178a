// SPDX-License-Identifier: AGPL-3.0-only
//
// What a kernel module image is, by its bytes. An image is judged by the name in .gnu.linkonce.this_module,
// for that is what the kernel registers; a file may be called anything. The bytes are hostile: whatever two
// kernels could read in two ways is reported as a problem, and a problem means refused.
#pragma once

#include "core/module_index.hpp"
#include "modules/image_elf.hpp"
#include "modules/image_modinfo.hpp"
#include "modules/image_signature.hpp"
#include "modules/image_source.hpp"
#include "sys/result.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace kmodguard::modules {

/// What to find out beside the names.
struct ImageOptions {
    bool with_hash = false;      ///< SHA-256 of the whole image, its signature included
    bool with_modinfo = false;   ///< aliases (in the facts as well), dependencies, vermagic
    bool with_signature = false; ///< who claims to have signed it
    bool with_is_signed = false; ///< whether there is a signature at all
    /// Where `name` lies in struct module, for kernels with CONFIG_RANDSTRUCT (their BTF has it). Empty:
    /// where it lies in all others.
    std::optional<std::uint32_t> name_offset = std::nullopt;

    bool operator==(const ImageOptions&) const = default;
};

struct ImageIdentity {
    core::ImageFacts facts;             ///< names and hash; `problem` if the image cannot be judged
    ElfFormat format;                   ///< meaningless with a problem
    std::optional<Modinfo> modinfo;     ///< where asked for; empty lists if the image has no .modinfo
    std::optional<Signature> signature; ///< where asked for, also of an image with a problem; not verified
};

/// The identity of an uncompressed image in memory. Never fails: what is wrong, with the image or with the
/// attempt to judge it, is in `facts.problem`. Whether the names agree with one another and with the policy
/// is not judged here but in core.
[[nodiscard]] ImageIdentity identify_image(std::span<const std::byte> image,
                                           const ImageOptions& options = {});

/// The same of any source; an error if it cannot be read. Without a hash only headers and the two sections
/// are read: some kilobytes, whatever the size.
[[nodiscard]] sys::Result<ImageIdentity> identify_source(ByteSource& source,
                                                         const ImageOptions& options = {});

} // namespace kmodguard::modules
