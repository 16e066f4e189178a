// SPDX-License-Identifier: AGPL-3.0-only
//
// An image of which only some pieces have been fetched from the guest. What is told of an image takes a few
// kilobytes of it, whatever its size, and which ones is known only to the parser: so the parser is run, says
// by its failure which piece is missing, and is run again when that is there.
#pragma once

#include "modules/image_source.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

namespace kmodguard::guest {

class SparseImage final : public modules::ByteSource {
  public:
    struct Piece {
        std::uint64_t offset = 0;
        std::size_t size = 0;
    };

    explicit SparseImage(std::uint64_t size) : size_(size) {}

    [[nodiscard]] std::uint64_t size() const override { return size_; }
    /// Fails with `failed` where the bytes exist and have not been fetched; missing() says which.
    [[nodiscard]] sys::Result<void> read(std::uint64_t offset, std::span<std::byte> into) override;

    /// The piece that the last read() lacked, with what is likely to be asked for next to it.
    [[nodiscard]] std::optional<Piece> missing() const { return missing_; }
    void add(std::uint64_t offset, std::vector<std::byte> bytes);
    /// Bytes that have been added.
    [[nodiscard]] std::uint64_t fetched() const { return fetched_; }

  private:
    std::uint64_t size_;
    std::uint64_t fetched_ = 0;
    std::map<std::uint64_t, std::vector<std::byte>> pieces_; ///< by offset
    std::optional<Piece> missing_;
};

} // namespace kmodguard::guest
