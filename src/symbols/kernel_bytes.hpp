// SPDX-License-Identifier: AGPL-3.0-only
//
// What is in the bytes of a kernel, which has a byte order and a word size of its own: numbers, texts, its
// banner; and at which address each byte lies once the kernel runs.
#pragma once

#include "modules/elf_file.hpp"
#include "symbols/symbols.hpp"

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kmodguard::symbols {

/// Whatever `read` looks at must be within the bytes: ask has() before.
class KernelBytes {
  public:
    KernelBytes(std::span<const std::byte> bytes, std::endian order) : bytes_(bytes), order_(order) {}

    [[nodiscard]] std::span<const std::byte> all() const { return bytes_; }
    [[nodiscard]] std::endian order() const { return order_; }
    [[nodiscard]] std::size_t size() const { return bytes_.size(); }

    [[nodiscard]] bool has(std::uint64_t offset, std::uint64_t size) const {
        return offset <= bytes_.size() && size <= bytes_.size() - offset;
    }

    template <typename T>
    [[nodiscard]] T read(std::size_t offset) const {
        T value;
        std::memcpy(&value, bytes_.data() + offset, sizeof value);
        return modules::in_order(value, order_);
    }

    [[nodiscard]] std::uint64_t word(std::size_t offset, WordSize size) const {
        return size == WordSize::bits_64 ? read<std::uint64_t>(offset) : read<std::uint32_t>(offset);
    }

    /// Whether all bytes from `begin` up to `end` are zero.
    [[nodiscard]] bool is_padding(std::size_t begin, std::size_t end) const {
        for (; begin < end; ++begin) {
            if (bytes_[begin] != std::byte{0}) return false;
        }
        return true;
    }

  private:
    std::span<const std::byte> bytes_;
    std::endian order_;
};

[[nodiscard]] constexpr std::size_t bytes_of(WordSize size) {
    return size == WordSize::bits_64 ? 8 : 4;
}

[[nodiscard]] constexpr std::uint64_t highest_address(WordSize size) {
    return size == WordSize::bits_64 ? UINT64_MAX : UINT32_MAX;
}

/// `value` up to the next multiple of `alignment`, which is a power of two.
[[nodiscard]] constexpr std::size_t aligned(std::size_t value, std::size_t alignment) {
    return (value + alignment - 1) & ~(alignment - 1);
}

[[nodiscard]] inline std::string_view as_text(std::span<const std::byte> bytes) {
    // NOLINTNEXTLINE(*-reinterpret-cast): bytes as characters
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

[[nodiscard]] constexpr bool is_printable(char c) {
    return c >= ' ' && c <= '~';
}

/// Where `wanted`, which is not empty, begins at `from` or later. Fast in memory that is mostly zero.
[[nodiscard]] std::optional<std::size_t> find_bytes(std::span<const std::byte> bytes, std::string_view wanted,
                                                    std::size_t from);

/// "Linux version 6.1.0-56-amd64 (...) #1 SMP ...": the line by which a kernel greets, and the one text that
/// every kernel image has. It shows which kernel a guest runs, and where it is shows how a guest's memory is
/// laid out.
inline constexpr std::uint64_t max_banner = 1024; ///< bytes; real ones have some 200

/// The banner that `bytes` begin with, without its line end; nothing if they begin with anything else, or if
/// it does not end within max_banner bytes as the kernel's does, with a line end and NUL. Source:
/// linux_banner of init/version-timestamp.c.
[[nodiscard]] std::optional<std::string> banner_text(std::span<const std::byte> bytes);

/// Where banners begin, ascending; at most 64 of them. A kernel's log, and another kernel in memory, have
/// such too.
[[nodiscard]] std::vector<std::size_t> find_banners(std::span<const std::byte> bytes);

/// Which byte lies at which address. An ELF file says so for each of its segments; of a flat image one known
/// pair says it for all.
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
