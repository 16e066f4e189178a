// SPDX-License-Identifier: AGPL-3.0-only
#include "modules/image_file.hpp"

#include <fmt/format.h>
#include <sys/stat.h>

#include <new>
#include <string>
#include <utility>

namespace kmodguard::modules {
namespace {

sys::Result<sys::FileIdentity> regular_file_identity(const sys::UniqueFd& file, std::string_view label) {
    struct stat status{};
    if (::fstat(file.get(), &status) != 0) return sys::system_failure("cannot inspect", label);
    if (!S_ISREG(status.st_mode))
        return sys::failure(sys::ErrorKind::invalid, fmt::format("{} is not a regular file", label));
    return sys::identity_of(status);
}

ImageIdentity with_problem(std::string problem) {
    ImageIdentity identity;
    identity.facts.problem = std::move(problem);
    return identity;
}

/// What is compressed in `source`. The whole of it is taken into memory where the hash is wanted, so that
/// names and hash are of the same bytes.
sys::Result<ImageIdentity> identify_content(ByteSource& source, Container container,
                                            const FileOptions& options) {
    if (source.size() > options.limit)
        return with_problem(fmt::format("larger than {} bytes", options.limit));
    if (container == Container::raw && !options.image.with_hash)
        return identify_source(source, options.image);
    const auto content = decompress(source, options.limit);
    if (content) return identify_image(*content, options.image);
    if (content.error().kind != sys::ErrorKind::invalid) return std::unexpected(content.error());
    return with_problem(content.error().what);
}

sys::Result<FileImage> identify_untagged(ByteSource& source, const FileOptions& options) {
    const auto container = container_of(source);
    if (!container && container.error().kind != sys::ErrorKind::invalid)
        return std::unexpected(container.error());
    FileImage image;
    image.container = container.value_or(Container::raw);
    auto identity = TRY(identify_content(source, image.container, options));
    image.identity = std::move(identity);
    return image;
}

/// `bytes` stay as they are, so that names, hash and tag are of the same.
sys::Result<FileImage> identify_tagged(std::span<const std::byte> bytes, const FileOptions& options) {
    MemorySource source(bytes);
    auto image = identify_untagged(source, options);
    if (!image || !image->identity.facts.problem.empty()) return image;
    const auto tag = TRY(tag_of(bytes, *options.key));
    image->tag = tag;
    return image;
}

/// The bytes of `source`, read once.
sys::Result<Buffer> read_whole(ByteSource& source) {
    try {
        return read_range(source, 0, source.size());
    } catch (const std::bad_alloc&) {
        return sys::failure(sys::ErrorKind::failed, "not enough memory to read a module image");
    }
}

} // namespace

sys::Result<FileImage> identify_compressed(ByteSource& source, const FileOptions& options) {
    if (!options.key || source.size() > options.limit) return identify_untagged(source, options);
    const auto bytes = read_whole(source);
    if (bytes) return identify_tagged(bytes->all(), options);
    if (bytes.error().kind != sys::ErrorKind::invalid) return std::unexpected(bytes.error());
    return FileImage{.identity = with_problem(bytes.error().what), .file = {}};
}

sys::Result<FileImage> identify_open_file(const sys::UniqueFd& file, std::string_view label,
                                          const FileOptions& options) {
    const auto before = TRY(regular_file_identity(file, label));
    FileSource source(file, before.size, label);
    auto image = identify_compressed(source, options);
    if (!image) return image;

    const auto after = TRY(regular_file_identity(file, label));
    if (after != before)
        return sys::failure(sys::ErrorKind::failed, fmt::format("{} changed while being read", label),
                            "try again");
    image->file = before;
    return image;
}

sys::Result<FileImage> identify_file(const std::filesystem::path& path, const FileOptions& options) {
    const auto file = TRY(sys::open_regular_file(path));
    return identify_open_file(file, path.native(), options);
}

} // namespace kmodguard::modules
