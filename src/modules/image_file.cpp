// SPDX-License-Identifier: AGPL-3.0-only
#include "modules/image_file.hpp"

#include <fmt/format.h>
#include <sys/stat.h>

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

/// Identifies the content, packed or not. The whole of it is taken into memory where the hash is wanted, so
/// that names and hash are of the same bytes.
sys::Result<ImageIdentity> identify_content(FileSource& source, Container container,
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

} // namespace

sys::Result<FileImage> identify_open_file(const sys::UniqueFd& file, std::string_view label,
                                          const FileOptions& options) {
    const auto before = regular_file_identity(file, label);
    if (!before) return std::unexpected(before.error());
    FileSource source(file, before->size, label);
    const auto container = container_of(source);
    if (!container && container.error().kind != sys::ErrorKind::invalid)
        return std::unexpected(container.error());
    auto identity = identify_content(source, container.value_or(Container::raw), options);
    if (!identity) return std::unexpected(std::move(identity.error()));

    const auto after = regular_file_identity(file, label);
    if (!after) return std::unexpected(after.error());
    if (*after != *before)
        return sys::failure(sys::ErrorKind::failed, fmt::format("{} changed while being read", label),
                            "try again");
    return FileImage{std::move(*identity), *before, container.value_or(Container::raw)};
}

sys::Result<FileImage> identify_file(const std::filesystem::path& path, const FileOptions& options) {
    const auto file = sys::open_regular_file(path);
    if (!file) return std::unexpected(file.error());
    return identify_open_file(*file, path.native(), options);
}

} // namespace kmodguard::modules
