// SPDX-License-Identifier: AGPL-3.0-only
//
// An image in the guest's memory: where it is, and what it says of itself. As little of it is fetched as
// gives its names: the guest is stopped, or kept from its work, for every piece.
#pragma once

#include "core/module_index.hpp"
#include "core/policy.hpp"
#include "enforce/guest/call_injection.hpp"
#include "modules/image_source.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace kmodguard::guest {

/// What load_module() is about to load, by its first argument, a struct load_info (kernel/module/internal.h,
/// before Linux 5.19 kernel/module.c). Only two of its members matter, whose offsets have changed once.
struct LoadInfo {
    std::uint64_t image = 0;       ///< address in the kernel's memory
    std::uint64_t size = 0;        ///< bytes
    std::uint64_t size_member = 0; ///< offset of the member that has it, bytes
};

/// How many words from its beginning are looked at.
inline constexpr std::size_t load_info_words = 4;

/// Finds the two members in the first words of a struct load_info at the entry of load_module(), where all
/// that the kernel itself finds out about the image is still 0. `word` is the size of a word and
/// `kernel_base` the lowest address of the kernel. nullopt: no layout that is known.
[[nodiscard]] std::optional<LoadInfo> load_info_from(std::span<const std::uint64_t, load_info_words> words,
                                                     std::uint8_t word, std::uint64_t kernel_base);

/// An image of which only some pieces have been fetched. What is read of an image takes a few kilobytes of
/// it, whatever its size, and which ones only the parser knows: so the parser is run, says by its failure
/// which piece is missing, and is run again when that is there.
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

  private:
    std::uint64_t size_;
    std::map<std::uint64_t, std::vector<std::byte>> pieces_; ///< by offset
    std::optional<Piece> missing_;
};

struct GuestImageOptions {
    const core::Policy& policy; ///< the content of what it pins is looked at whole
    bool hash = false;          ///< of every other image too
    bool of_process = false;    ///< the image is in the calling process's memory, not in the kernel's
};

/// The names, and where wanted the hash, of the image that `injection`'s task is about to load. What is wrong
/// with it is in the facts; an error only if the guest cannot be looked at any more.
[[nodiscard]] Task<sys::Result<core::ImageFacts>> identify_in_guest(CallInjection& injection, LoadInfo info,
                                                                    GuestImageOptions options);

/// The facts of an image that cannot be judged, and so is refused.
[[nodiscard]] core::ImageFacts unreadable(std::string why);

} // namespace kmodguard::guest
