// SPDX-License-Identifier: AGPL-3.0-only
//
// The identity of a module image file. The daemon asks for it while a process waits for its module, so the
// usual question, the names in an uncompressed file, costs a handful of small reads and no whole-file read.
#pragma once

#include "modules/content_tag.hpp"
#include "modules/decompress.hpp"
#include "modules/image.hpp"
#include "sys/file.hpp"
#include "sys/result.hpp"
#include "sys/unique_fd.hpp"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string_view>

namespace kmodguard::modules {

struct FileOptions {
    ImageOptions image = {};
    std::uint64_t limit = default_image_limit;    ///< bytes, of the file and of what is compressed in it
    std::optional<ContentKey> key = std::nullopt; ///< where the tag of the file's bytes is wanted
};

struct FileImage {
    ImageIdentity identity;
    sys::FileIdentity file; ///< the state of the file that `identity` belongs to
    Container container = Container::raw;
    std::optional<ContentTag> tag = std::nullopt; ///< where asked for; never of an image with a problem
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
