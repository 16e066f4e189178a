// SPDX-License-Identifier: AGPL-3.0-only
//
// Numbers and texts in the bytes of a kernel, which has a byte order and a word size of its own.
#pragma once

#include "modules/elf_file.hpp"
#include "symbols/symbols.hpp"

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>

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

/// Where `wanted`, which is not empty, begins at `from` or later. Fast in memory that is mostly zero.
[[nodiscard]] inline std::optional<std::size_t> find_bytes(std::span<const std::byte> bytes,
                                                           std::string_view wanted, std::size_t from) {
    if (from >= bytes.size()) return std::nullopt;
    const auto rest = bytes.subspan(from);
    const auto* const found =
        static_cast<const std::byte*>(::memmem(rest.data(), rest.size(), wanted.data(), wanted.size()));
    if (found == nullptr) return std::nullopt;
    return from + static_cast<std::size_t>(found - rest.data());
}

} // namespace kmodguard::symbols
