// SPDX-License-Identifier: AGPL-3.0-only
//
// Which byte of an image lies at which address once the kernel runs. An ELF file says so for each of its
// segments; of a flat image one known pair says it for all.
#pragma once

#include "modules/elf_file.hpp"

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace kmodguard::symbols {

class AddressMap {
  public:
    AddressMap() = default; ///< that knows nothing

    /// Of the segments that are loaded.
    [[nodiscard]] static AddressMap of_segments(std::span<const modules::ElfSegment> segments);

    /// Of `size` bytes in one piece, of which the one at `offset` lies at `address`.
    [[nodiscard]] static AddressMap of_flat_image(std::uint64_t size, std::uint64_t offset,
                                                  std::uint64_t address);

    [[nodiscard]] bool empty() const { return pieces_.empty(); }
    [[nodiscard]] std::optional<std::uint64_t> address_of(std::uint64_t offset) const;
    [[nodiscard]] std::optional<std::uint64_t> offset_of(std::uint64_t address) const;

  private:
    struct Piece {
        std::uint64_t offset;
        std::uint64_t address;
        std::uint64_t size;
    };
    std::vector<Piece> pieces_;
};

} // namespace kmodguard::symbols
