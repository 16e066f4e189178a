// SPDX-License-Identifier: AGPL-3.0-only
#include "enforce/guest/guest_image.hpp"

#include "modules/image.hpp"

#include <algorithm>
#include <utility>

namespace kmodguard::guest {
namespace {

constexpr std::uint64_t max_image_size = 1ULL << 31U; // no kernel takes more from one call

constexpr std::uint64_t max_image = 1ULL << 30U;
constexpr std::uint64_t max_hashed = 256ULL << 20U; ///< in memory, whole

bool is_image(std::uint64_t address, std::uint64_t size, std::uint64_t kernel_base) {
    return address >= kernel_base && size < max_image_size;
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

Task<sys::Result<core::ImageFacts>> identify_in_guest(CallInjection& injection, LoadInfo info,
                                                      GuestImageOptions options) {
    if (info.size > max_image) co_return unreadable("the image is too large");
    SparseImage image(info.size);
    modules::ImageOptions wanted{.with_aliases = options.policy.has_deny_aliases()};
    while (true) {
        auto identity = modules::identify_source(image, wanted);
        const bool hash = options.hash || (identity && !options.policy.pins(identity->facts.name).empty());
        std::optional<SparseImage::Piece> piece = image.missing();
        if (identity && hash && !wanted.with_hash) { // its content decides, or is to be recorded
            if (info.size > max_hashed) co_return unreadable("the image is too large to be hashed");
            // As one piece: hashing a piece after another would begin again with each.
            piece = {.offset = 0, .size = static_cast<std::size_t>(info.size)};
            wanted.with_hash = true;
        } else if (identity) {
            co_return std::move(identity->facts);
        } else if (!piece) {
            co_return unreadable(identity.error().what);
        }
        std::vector<std::byte> bytes(piece->size);
        auto reading = options.of_process ? injection.user_memory(info.image + piece->offset, bytes)
                                          : injection.read(info.image + piece->offset, bytes);
        const auto fetched = co_await unless_lost(co_await reading);
        if (!fetched) co_return unreadable("the image cannot be read: " + fetched.error().what);
        image.add(piece->offset, std::move(bytes));
    }
}

} // namespace kmodguard::guest
