// SPDX-License-Identifier: AGPL-3.0-only
//
// Copies of images, and how much memory they may take: a share is taken before a copy is made, and given back
// with it.
#pragma once

#include "core/module_index.hpp"
#include "modules/image_source.hpp"

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>

namespace kmodguard::process {

/// Bytes that may be in use at one time.
class MemoryBudget {
    struct GiveBack {
        std::uint64_t bytes = 0;
        void operator()(MemoryBudget* budget) const;
    };

  public:
    /// Given back when it goes.
    using Share = std::unique_ptr<MemoryBudget, GiveBack>;

    explicit MemoryBudget(std::uint64_t bytes) : left_(bytes) {}

    /// Waits until `bytes`, which is no more than the budget as a whole, are left.
    [[nodiscard]] Share take(std::uint64_t bytes);
    /// nullptr if so many are not left now.
    [[nodiscard]] Share take_at_once(std::uint64_t bytes);

  private:
    std::mutex mutex_;
    std::condition_variable returned_;
    std::uint64_t left_;
};

/// A copy of an image, and what it is.
struct ImageCopy {
    MemoryBudget::Share share; ///< outlives the bytes
    modules::Buffer bytes;
    core::ImageFacts facts;
};

/// What the kernel would take the bytes for, with their hash.
[[nodiscard]] core::ImageFacts facts_of(std::span<const std::byte> image);
/// The same without: on a small image the hash is most of the work.
[[nodiscard]] core::ImageFacts facts_without_hash(std::span<const std::byte> image);
/// Of an image that cannot be read.
[[nodiscard]] core::ImageFacts unreadable(std::string why);

/// Whether the bytes are of a form that can be decompressed (modules::decompress()).
[[nodiscard]] bool is_compressed(modules::MemorySource& source);

} // namespace kmodguard::process
