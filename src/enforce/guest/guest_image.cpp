// SPDX-License-Identifier: AGPL-3.0-only
#include "enforce/guest/guest_image.hpp"

#include "enforce/guest/sparse_image.hpp"
#include "modules/image.hpp"

#include <utility>
#include <vector>

namespace kmodguard::guest {
namespace {

constexpr std::uint64_t most_image = 1ULL << 30U;
constexpr std::uint64_t most_hashed = 256ULL << 20U; ///< it is held whole

Task<sys::Result<void>> fetch(Visit& visit, LoadInfo info, bool of_process, SparseImage::Piece piece,
                              SparseImage& image) {
    std::vector<std::byte> bytes(piece.size);
    const std::uint64_t from = info.image + piece.offset;
    auto fetched = sys::Result<void>{};
    if (of_process)
        fetched = co_await visit.user_memory(from, bytes);
    else
        fetched = co_await visit.read(from, bytes);
    if (fetched) image.add(piece.offset, std::move(bytes));
    co_return fetched;
}

/// As one piece: hashing a piece after another would begin anew for each.
Task<sys::Result<void>> fetch_all(Visit& visit, LoadInfo info, bool of_process, SparseImage& image) {
    auto fetched = co_await fetch(visit, info, of_process,
                                  {.offset = 0, .size = static_cast<std::size_t>(info.size)}, image);
    co_return fetched;
}

} // namespace

core::ImageFacts unreadable(std::string why) {
    return {.problem = std::move(why), .name = {}, .modinfo_name = {}};
}

bool is_lost(const sys::Error& error) {
    return error.kind == sys::ErrorKind::unreachable;
}

Task<sys::Result<core::ImageFacts>> identify_in_guest(Visit& visit, LoadInfo info,
                                                      GuestImageOptions options) {
    if (info.size > most_image) co_return unreadable("the image is too large");
    SparseImage image(info.size);
    modules::ImageOptions wanted{.with_modinfo = options.policy.has_deny_aliases()};
    while (true) {
        auto identity = modules::identify_source(image, wanted);
        const bool wants_hash =
            options.hash || (identity && !options.policy.pins(identity->facts.name).empty());
        if (identity && wants_hash && !wanted.with_hash) { // its content decides, or is to be recorded
            if (info.size > most_hashed) co_return unreadable("the image is too large to be hashed");
            auto whole = co_await fetch_all(visit, info, options.of_process, image);
            if (!whole && is_lost(whole.error())) co_return std::unexpected(whole.error());
            if (!whole) co_return unreadable("the image cannot be read: " + whole.error().what);
            wanted.with_hash = true;
            continue;
        }
        if (identity) co_return std::move(identity->facts);
        const auto missing = image.missing();
        if (!missing) co_return unreadable(identity.error().what);
        auto fetched = co_await fetch(visit, info, options.of_process, *missing, image);
        if (!fetched && is_lost(fetched.error())) co_return std::unexpected(fetched.error());
        if (!fetched) co_return unreadable("the image cannot be read: " + fetched.error().what);
    }
}

} // namespace kmodguard::guest
