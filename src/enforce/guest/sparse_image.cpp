// SPDX-License-Identifier: AGPL-3.0-only
#include "enforce/guest/sparse_image.hpp"

#include <algorithm>

namespace kmodguard::guest {

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
    constexpr std::size_t smallest =
        512; // of one answer of the debugger's stub the bytes cost next to nothing
    const std::uint64_t size = std::min<std::uint64_t>(std::max(into.size(), smallest), size_ - offset);
    missing_ = Piece{.offset = offset, .size = static_cast<std::size_t>(size)};
    return sys::failure(sys::ErrorKind::failed, "a part of the image has not been fetched");
}

void SparseImage::add(std::uint64_t offset, std::vector<std::byte> bytes) {
    fetched_ += bytes.size();
    if (bytes.size() == size_) pieces_.clear(); // it is whole
    pieces_.insert_or_assign(offset, std::move(bytes));
}

} // namespace kmodguard::guest
