// SPDX-License-Identifier: AGPL-3.0-only
//
// What a kernel module image is, by its bytes. An image is judged by the name in .gnu.linkonce.this_module,
// for that is what the kernel registers; a file may be called anything. The bytes are hostile: whatever two
// kernels could read in two ways is reported as a problem, and a problem means refused.
//
// The daemon asks for a file's identity while a process waits for its module, so the usual question, the
// names in an uncompressed file, costs a handful of small reads and no whole-file read.
#pragma once

#include "core/module_index.hpp"
#include "modules/decompress.hpp"
#include "modules/elf_file.hpp"
#include "modules/hash.hpp"
#include "modules/image_source.hpp"
#include "sys/file.hpp"
#include "sys/result.hpp"
#include "sys/unique_fd.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace kmodguard::modules {

/// What to find out beside the names.
struct ImageOptions {
    bool with_hash = false;      ///< SHA-256 of the whole image, its signature included
    bool with_aliases = false;   ///< its own, as .modinfo has them
    bool with_signature = false; ///< who claims to have signed it
    bool with_is_signed = false; ///< whether there is a signature at all
    /// Where `name` lies in struct module, for kernels with CONFIG_RANDSTRUCT (their BTF has it). Empty:
    /// where it lies in all others.
    std::optional<std::uint32_t> name_offset = std::nullopt;

    bool operator==(const ImageOptions&) const = default;
};

/// The signature at the end of an image, for people to look at: "signed by X with sha256". Nothing is
/// verified here and no decision may rest on it: any writer of the file can append a signature in any name.
/// Whether a signature is good only the kernel says, which has the keys.
struct Signature {
    bool present = false; ///< the image ends in "~Module signature appended~\n"
    std::string problem;  ///< why the rest is empty: "unreadable: ..."; empty when it is not
    std::string signer; ///< common name of the issuer, or the key identifier in hexadecimal; unverified text
    std::string hash;   ///< digest algorithm: "sha256"
};

struct ImageIdentity {
    core::ImageFacts facts;             ///< names, hash, aliases; `problem` if the image cannot be judged
    ElfFormat format;                   ///< meaningless with a problem
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

struct FileOptions {
    ImageOptions image = {};
    std::uint64_t limit = default_image_limit;    ///< bytes, of the file and of what is compressed in it
    std::optional<ContentKey> key = std::nullopt; ///< where the tag of the file's bytes is wanted
    /// "": what is compressed is not wanted as a file in memory of this name.
    std::string unpacked_name = {};
    std::uint64_t unpacked_limit = 0; ///< bytes of the largest that is
};

struct FileImage {
    ImageIdentity identity;
    sys::FileIdentity file; ///< the state of the file that `identity` belongs to
    Container container = Container::raw;
    std::optional<ContentTag> tag = std::nullopt; ///< where asked for; never of an image with a problem
    sys::UniqueFd unpacked = {}; ///< sealed; where asked for, of what is compressed and has no problem
};

/// Identifies the image in the regular file at `path`, which may be raw, gzip, xz or zstd, by its content
/// alone. What is wrong with the content, damaged compression included, is in identity.facts.problem. It
/// fails if the file cannot be opened or read, is no regular file, or changed meanwhile ("changed while being
/// read"). A raw file is read whole, once, only for its hash or its tag; a compressed one is always
/// decompressed into memory.
[[nodiscard]] sys::Result<FileImage> identify_file(const std::filesystem::path& path,
                                                   const FileOptions& options = {});

/// The same of an open regular file, whose position is neither used nor moved. `label` names it in errors.
[[nodiscard]] sys::Result<FileImage> identify_open_file(const sys::UniqueFd& file, std::string_view label,
                                                        const FileOptions& options = {});

/// The same of any bytes, for which `file` has no meaning. Where options.key is given they are read once, and
/// names, hash and tag are of what was read then, whatever they are by now.
[[nodiscard]] sys::Result<FileImage> identify_compressed(ByteSource& source, const FileOptions& options = {});

} // namespace kmodguard::modules
