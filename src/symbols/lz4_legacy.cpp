// SPDX-License-Identifier: AGPL-3.0-only
#include "symbols/lz4_legacy.hpp"

#include "symbols/kernel_bytes.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <new>
#include <optional>
#include <utility>

namespace kmodguard::symbols {
namespace {

constexpr std::size_t block_size = 8U << 20U; ///< bytes that each block but the last unpacks to
/// Of a block that could not be compressed at all.
constexpr std::size_t max_packed_block = block_size + block_size / 255 + 16;

std::unexpected<sys::Error> damaged(std::string_view why) {
    return sys::failure(sys::ErrorKind::invalid, fmt::format("LZ4: {}", why));
}

/// One block, from its first byte to its last; matches reach no further back than its own beginning.
class Block {
  public:
    Block(std::span<const std::byte> packed, std::vector<std::byte>& content)
        : packed_(packed), content_(content), begin_(content.size()) {}

    [[nodiscard]] bool unpack() {
        while (at_ < packed_.size()) {
            const auto token = std::to_integer<unsigned>(packed_[at_++]);
            const auto literals = length(token >> 4U);
            if (!literals || !copy_literals(*literals)) return false;
            if (at_ == packed_.size()) return true; // the last sequence is literals only
            if (!copy_match(token & 0xFU)) return false;
        }
        return false;
    }

  private:
    /// `start`, and if it is 15 all bytes up to the first that is not 255.
    [[nodiscard]] std::optional<std::size_t> length(std::size_t start) {
        if (start != 15) return start;
        while (at_ < packed_.size()) {
            const auto more = std::to_integer<std::size_t>(packed_[at_++]);
            start += more;
            if (more != 255) return start;
        }
        return std::nullopt;
    }

    [[nodiscard]] std::size_t room() const { return block_size - (content_.size() - begin_); }

    [[nodiscard]] bool copy_literals(std::size_t size) {
        if (size > packed_.size() - at_ || size > room()) return false;
        const auto literals = packed_.subspan(at_, size);
        content_.insert(content_.end(), literals.begin(), literals.end());
        at_ += size;
        return true;
    }

    [[nodiscard]] bool copy_match(unsigned start) {
        if (packed_.size() - at_ < 2) return false;
        const auto distance = std::to_integer<std::size_t>(packed_[at_])
                              | (std::to_integer<std::size_t>(packed_[at_ + 1]) << 8U);
        at_ += 2;
        const auto size = length(start);
        constexpr std::size_t shortest = 4;
        if (!size || *size + shortest > room() || distance == 0 || distance > content_.size() - begin_)
            return false;
        const auto from = content_.size() - distance;
        content_.resize(content_.size() + *size + shortest);
        auto* const to = content_.data() + from + distance;
        for (std::size_t i = 0; i < *size + shortest; ++i) // may overlap, and must then repeat itself
            to[i] = content_[from + i];
        return true;
    }

    std::span<const std::byte> packed_;
    std::vector<std::byte>& content_;
    std::size_t begin_;
    std::size_t at_ = 0;
};

} // namespace

sys::Result<std::vector<std::byte>> unpack_lz4_legacy(std::span<const std::byte> packed,
                                                      std::uint64_t limit) {
    constexpr std::size_t word = 4;
    const KernelBytes bytes(packed, std::endian::little);
    std::vector<std::byte> content;
    try {
        content.reserve(std::min<std::size_t>(limit, packed.size() * 4));
        for (std::size_t at = word; bytes.has(at, word);) {
            const auto size = bytes.read<std::uint32_t>(at);
            if (size == 0 || size > max_packed_block || !bytes.has(at + word, size)) break;
            const auto begin = content.size();
            if (!Block(packed.subspan(at + word, size), content).unpack()) {
                content.resize(begin);
                if (begin == 0) return damaged("damaged");
                break; // what follows the frame
            }
            if (content.size() > limit) return damaged(fmt::format("content exceeds {} bytes", limit));
            at += word + size;
            if (content.size() - begin < block_size) break; // the last block
        }
    } catch (const std::bad_alloc&) {
        return sys::failure(sys::ErrorKind::failed, "not enough memory to decompress a kernel");
    }
    if (content.empty()) return damaged("cut off, or empty");
    return content;
}

} // namespace kmodguard::symbols
