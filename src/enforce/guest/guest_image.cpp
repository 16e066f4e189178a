// SPDX-License-Identifier: AGPL-3.0-only
#include "enforce/guest/guest_image.hpp"

#include "modules/image.hpp"

#include <algorithm>
#include <utility>

namespace kmodguard::guest {
namespace {

constexpr std::uint64_t max_image_size = 1ULL << 31U; // no kernel takes more from one call

bool is_image(std::uint64_t address, std::uint64_t size, std::uint64_t kernel_base) {
    return address >= kernel_base && size < max_image_size;
}

constexpr std::uint64_t max_image = 1ULL << 30U;
constexpr std::uint64_t max_hashed = 256ULL << 20U; ///< in memory, whole

Task<sys::Result<void>> fetch(CallInjection& injection, LoadInfo info, bool of_process,
                              SparseImage::Piece piece, SparseImage& image) {
    std::vector<std::byte> bytes(piece.size);
    const std::uint64_t from = info.image + piece.offset;
    auto fetched = sys::Result<void>{};
    if (of_process)
        fetched = co_await injection.user_memory(from, bytes);
    else
        fetched = co_await injection.read(from, bytes);
    if (fetched) image.add(piece.offset, std::move(bytes));
    co_return fetched;
}

/// As one piece: hashing a piece after another would begin again with each.
Task<sys::Result<void>> fetch_all(CallInjection& injection, LoadInfo info, bool of_process,
                                  SparseImage& image) {
    auto fetched = co_await fetch(injection, info, of_process,
                                  {.offset = 0, .size = static_cast<std::size_t>(info.size)}, image);
    co_return fetched;
}

} // namespace

std::optional<LoadInfo> load_info_from(std::span<const std::uint64_t, load_info_words> words,
                                       std::uint8_t word, std::uint64_t kernel_base) {
    // Since Linux 4.20: name, mod, hdr, len. name and mod are set later.
    if (words[0] == 0 && words[1] == 0) {
        if (!is_image(words[2], words[3], kernel_base)) return std::nullopt;
        return LoadInfo{.image = words[2], .size = words[3], .size_member = std::uint64_t{3} * word};
    }
    // Before: hdr, len, sechdrs, secstrings (3.x), or name before them (4.18), which is still 0.
    if (words[0] != 0 && is_image(words[0], words[1], kernel_base))
        return LoadInfo{.image = words[0], .size = words[1], .size_member = word};
    if (words[0] == 0 && is_image(words[1], words[2], kernel_base))
        return LoadInfo{.image = words[1], .size = words[2], .size_member = std::uint64_t{2} * word};
    return std::nullopt;
}

sys::Result<void> SparseImage::read(std::uint64_t offset, std::span<std::byte> into) {
    missing_.reset();
    if (offset > size_ || into.size() > size_ - offset)
        return sys::failure(sys::ErrorKind::invalid, "the image ends too early");
    if (into.empty()) return {};
    auto piece = pieces_.upper_bound(offset);
    if (piece != pieces_.begin()) {
        --piece;
        const std::uint64_t skipped = offset - piece->first;
        if (skipped <= piece->second.size() && into.size() <= piece->second.size() - skipped) {
            std::copy_n(piece->second.begin() + static_cast<std::ptrdiff_t>(skipped), into.size(),
                        into.begin());
            return {};
        }
    }
    constexpr std::size_t min_piece = 512; // the bytes of one answer of the stub cost next to nothing
    const std::uint64_t size = std::min<std::uint64_t>(std::max(into.size(), min_piece), size_ - offset);
    missing_ = Piece{.offset = offset, .size = static_cast<std::size_t>(size)};
    return sys::failure(sys::ErrorKind::failed, "a part of the image has not been fetched");
}

void SparseImage::add(std::uint64_t offset, std::vector<std::byte> bytes) {
    if (bytes.size() == size_) pieces_.clear(); // it is whole
    pieces_.insert_or_assign(offset, std::move(bytes));
}

core::ImageFacts unreadable(std::string why) {
    return {.problem = std::move(why), .name = {}, .modinfo_name = {}};
}

bool is_lost(const sys::Error& error) {
    return error.kind == sys::ErrorKind::unreachable;
}

Task<sys::Result<core::ImageFacts>> identify_in_guest(CallInjection& injection, LoadInfo info,
                                                      GuestImageOptions options) {
    if (info.size > max_image) co_return unreadable("the image is too large");
    SparseImage image(info.size);
    modules::ImageOptions wanted{.with_aliases = options.policy.has_deny_aliases()};
    while (true) {
        auto identity = modules::identify_source(image, wanted);
        const bool wants_hash =
            options.hash || (identity && !options.policy.pins(identity->facts.name).empty());
        if (identity && wants_hash && !wanted.with_hash) { // its content decides, or is to be recorded
            if (info.size > max_hashed) co_return unreadable("the image is too large to be hashed");
            auto whole = co_await fetch_all(injection, info, options.of_process, image);
            if (!whole && is_lost(whole.error())) co_return std::unexpected(whole.error());
            if (!whole) co_return unreadable("the image cannot be read: " + whole.error().what);
            wanted.with_hash = true;
            continue;
        }
        if (identity) co_return std::move(identity->facts);
        const auto missing = image.missing();
        if (!missing) co_return unreadable(identity.error().what);
        auto fetched = co_await fetch(injection, info, options.of_process, *missing, image);
        if (!fetched && is_lost(fetched.error())) co_return std::unexpected(fetched.error());
        if (!fetched) co_return unreadable("the image cannot be read: " + fetched.error().what);
    }
}

} // namespace kmodguard::guest
