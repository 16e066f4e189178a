// SPDX-License-Identifier: AGPL-3.0-only
#include "modules/image.hpp"

#include "modules/elf_file.hpp"
#include "modules/hash.hpp"

#include <algorithm>
#include <array>
#include <new>

namespace kmodguard::modules {
namespace {

/// An alias list of the largest drivers takes 100 KiB.
constexpr std::uint64_t max_modinfo = 4U << 20U;
constexpr std::uint64_t hash_step = 64U << 10U;

sys::Result<void> add_modinfo(ByteSource& source, const ElfModule& elf, bool whole, ImageIdentity& identity) {
    if (whole) {
        identity.modinfo.emplace();
        identity.facts.aliases.emplace(); // it has none unless it says so
    }
    if (!elf.modinfo) return {};
    const auto& section = elf.sections[*elf.modinfo];
    if (section.size > max_modinfo) return sys::failure(sys::ErrorKind::invalid, ".modinfo too large");
    const auto bytes = TRY(read_range(source, section.offset, section.size));
    auto name = TRY(read_modinfo_name(bytes.all()));
    identity.facts.modinfo_name = std::move(name);
    if (!whole) return {};
    auto modinfo = TRY(read_modinfo(bytes.all()));
    identity.facts.aliases = modinfo.aliases;
    identity.modinfo = std::move(modinfo);
    return {};
}

sys::Result<void> add_names(ByteSource& source, const ImageOptions& options, ImageIdentity& identity) {
    const auto elf = TRY(read_elf_module(source));
    auto name = TRY(read_struct_module_name(source, elf, options.name_offset));
    identity.format = elf.format;
    identity.facts.name = std::move(name);
    return add_modinfo(source, elf, options.with_modinfo, identity);
}

sys::Result<core::Sha256> hash_of(ByteSource& source) {
    auto hasher = TRY(Sha256Hasher::begin());
    Buffer buffer(static_cast<std::size_t>(std::min(source.size(), hash_step)));
    for (std::uint64_t at = 0; at < source.size();) {
        const auto piece = buffer.all().first(
            static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), source.size() - at)));
        TRY(source.read(at, piece));
        TRY(hasher.update(piece));
        at += piece.size();
    }
    return hasher.finish();
}

sys::Result<ImageIdentity> identify(ByteSource& source, const ImageOptions& options) {
    ImageIdentity identity;
    if (auto done = add_names(source, options, identity); !done) {
        if (done.error().kind != sys::ErrorKind::invalid) return std::unexpected(std::move(done.error()));
        identity = {};
        identity.facts.problem = std::move(done.error().what);
        const auto elf = TRY(may_be_elf(source));
        identity.facts.no_module = !elf;
    }
    if (options.with_hash) {
        const auto hash = TRY(hash_of(source));
        identity.facts.sha256 = hash;
    }
    if (options.with_is_signed) {
        const auto found = TRY(has_signature(source));
        identity.facts.is_signed = found;
    }
    if (options.with_signature) {
        auto signature = TRY(read_signature(source));
        identity.signature = std::move(signature);
    }
    return identity;
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
    if (identity) return std::move(*identity);
    ImageIdentity failed;
    failed.facts.problem = std::move(identity.error().what);
    return failed;
}

} // namespace kmodguard::modules
