// SPDX-License-Identifier: AGPL-3.0-only
#include "modules/image.hpp"

#include "modules/image_parts.hpp"

#include <fmt/format.h>
#include <sys/stat.h>

#include <new>
#include <string>
#include <utility>

namespace kmodguard::modules {
namespace {

/// An alias list of the largest drivers takes 100 KiB.
constexpr std::uint64_t max_modinfo = 4U << 20U;

/// The records of .modinfo: "key=value" strings, each ended by a NUL. Looking for "name=" anywhere in the
/// bytes finds it inside other records as well ("parm=xname=allowed"), so records are split first and a key
/// counts at the start of one only, as get_next_modinfo of kernel/module/main.c does. Fails with `invalid` if
/// the section is not NUL-terminated (the kernel would read on beyond it), or if two name= records differ.
sys::Result<void> read_modinfo(std::string_view section, core::ImageFacts& facts) {
    if (!section.ends_with('\0')) return sys::failure(sys::ErrorKind::invalid, ".modinfo is not terminated");
    constexpr std::string_view name_key = "name=";
    constexpr std::string_view alias_key = "alias=";
    std::optional<std::string_view> name; // none: kernels before 4.13 write none
    while (!section.empty()) {
        const std::string_view record = section.substr(0, section.find('\0'));
        section.remove_prefix(record.size() + 1);
        if (record.starts_with(name_key)) {
            const std::string_view value = record.substr(name_key.size());
            if (name && *name != value)
                return sys::failure(sys::ErrorKind::invalid, ".modinfo has names that differ");
            name = value;
        } else if (facts.aliases && record.starts_with(alias_key)) {
            facts.aliases->emplace_back(record.substr(alias_key.size()));
        }
    }
    facts.modinfo_name = name.value_or("");
    return {};
}

sys::Result<void> add_names(ByteSource& source, const ImageOptions& options, ImageIdentity& identity) {
    const auto elf = TRY(read_elf_module(source));
    identity.facts.name = TRY(read_struct_module_name(source, elf, options.name_offset));
    identity.format = elf.format;
    if (options.with_aliases) identity.facts.aliases.emplace(); // it has none unless it says so
    if (!elf.modinfo) return {};
    const auto& section = elf.sections[*elf.modinfo];
    if (section.size > max_modinfo) return sys::failure(sys::ErrorKind::invalid, ".modinfo too large");
    const auto bytes = TRY(read_range(source, section.offset, section.size));
    return read_modinfo({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, identity.facts);
}

ImageIdentity with_problem(std::string problem) {
    ImageIdentity identity;
    identity.facts.problem = std::move(problem);
    return identity;
}

sys::Result<ImageIdentity> identify(ByteSource& source, const ImageOptions& options) {
    ImageIdentity identity;
    if (auto done = add_names(source, options, identity); !done) {
        if (done.error().kind != sys::ErrorKind::invalid) return std::unexpected(std::move(done.error()));
        identity = with_problem(std::move(done.error().what));
        identity.facts.no_module = !TRY(may_be_elf(source));
    }
    if (options.with_hash) identity.facts.sha256 = TRY(sha256(source));
    if (options.with_is_signed) identity.facts.is_signed = TRY(has_signature(source));
    if (options.with_signature) identity.signature = TRY(read_signature(source));
    return identity;
}

/// Where there is no memory for it, there is none.
sys::UniqueFd unpacked_file(std::span<const std::byte> image, const FileOptions& options) {
    if (options.unpacked_name.empty() || image.size() > options.unpacked_limit) return {};
    return sys::sealed_image_file(options.unpacked_name.c_str(),
                                  {reinterpret_cast<const char*>(image.data()), image.size()});
}

/// What is compressed in `source`. The whole of it is taken into memory where the hash is wanted, so that
/// names and hash are of the same bytes.
sys::Result<ImageIdentity> identify_content(ByteSource& source, Container container,
                                            const FileOptions& options, sys::UniqueFd& unpacked) {
    if (source.size() > options.limit)
        return with_problem(fmt::format("larger than {} bytes", options.limit));
    if (container == Container::raw && !options.image.with_hash)
        return identify_source(source, options.image);
    const auto content = decompress(source, options.limit);
    if (content) {
        auto identity = identify_image(*content, options.image);
        if (container != Container::raw && identity.facts.problem.empty())
            unpacked = unpacked_file(*content, options);
        return identity;
    }
    if (content.error().kind != sys::ErrorKind::invalid) return std::unexpected(content.error());
    return with_problem(content.error().what);
}

sys::Result<FileImage> identify_untagged(ByteSource& source, const FileOptions& options) {
    const auto container = container_of(source);
    if (!container && container.error().kind != sys::ErrorKind::invalid)
        return std::unexpected(container.error());
    FileImage image;
    image.container = container.value_or(Container::raw);
    image.identity = TRY(identify_content(source, image.container, options, image.unpacked));
    return image;
}

sys::Result<sys::FileIdentity> regular_file_identity(const sys::UniqueFd& file, std::string_view label) {
    struct stat status{};
    if (::fstat(file.get(), &status) != 0) return sys::system_failure("cannot inspect", label);
    if (!S_ISREG(status.st_mode))
        return sys::failure(sys::ErrorKind::invalid, fmt::format("{} is not a regular file", label));
    return sys::identity_of(status);
}

} // namespace

sys::Result<ImageIdentity> identify_source(ByteSource& source, const ImageOptions& options) {
    try {
        return identify(source, options);
    } catch (const std::bad_alloc&) {
        return sys::failure(sys::ErrorKind::failed, "not enough memory to read a module image");
    }
}

ImageIdentity identify_image(std::span<const std::byte> image, const ImageOptions& options) {
    MemorySource source(image);
    auto identity = identify_source(source, options);
    return identity ? std::move(*identity) : with_problem(std::move(identity.error().what));
}

sys::Result<FileImage> identify_compressed(ByteSource& source, const FileOptions& options) {
    if (!options.key || source.size() > options.limit) return identify_untagged(source, options);
    try {
        const auto bytes = read_range(source, 0, source.size());
        if (!bytes && bytes.error().kind != sys::ErrorKind::invalid) return std::unexpected(bytes.error());
        if (!bytes)
            return FileImage{.identity = with_problem(bytes.error().what), .file = {}, .unpacked = {}};
        MemorySource copy(bytes->all()); // stays as it is, so that names, hash and tag are of the same bytes
        auto image = TRY(identify_untagged(copy, options));
        if (image.identity.facts.problem.empty()) image.tag = TRY(tag_of(bytes->all(), *options.key));
        return image;
    } catch (const std::bad_alloc&) {
        return sys::failure(sys::ErrorKind::failed, "not enough memory to read a module image");
    }
}

sys::Result<FileImage> identify_open_file(const sys::UniqueFd& file, std::string_view label,
                                          const FileOptions& options) {
    const auto before = TRY(regular_file_identity(file, label));
    FileSource source(file, before.size, label);
    auto image = TRY(identify_compressed(source, options));
    const auto after = TRY(regular_file_identity(file, label));
    if (after != before)
        return sys::failure(sys::ErrorKind::failed, fmt::format("{} changed while being read", label),
                            "try again");
    image.file = before;
    return image;
}

sys::Result<FileImage> identify_file(const std::filesystem::path& path, const FileOptions& options) {
    const auto file = TRY(sys::open_regular_file(path));
    return identify_open_file(file, path.native(), options);
}

} // namespace kmodguard::modules
