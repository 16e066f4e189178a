// SPDX-License-Identifier: AGPL-3.0-only
//
// A copy of an image that was looked at: to be hashed when there is time, and to be known again if the same
// bytes come once more, byte by byte. Threads may share one.
#pragma once

#include "core/module_index.hpp"
#include "modules/image_source.hpp"

#include <cstddef>
#include <mutex>
#include <optional>
#include <span>

namespace kmodguard::process {

class SeenImage {
  public:
    /// `facts`: what the bytes are, with or without their hash.
    SeenImage(modules::Buffer bytes, core::ImageFacts facts);

    [[nodiscard]] bool is(std::span<const std::byte> bytes) const;
    [[nodiscard]] std::size_t size() const { return bytes_.size(); }
    [[nodiscard]] const core::ImageFacts& facts() const { return facts_; } ///< as they were given
    /// Computed when it is first asked for; nothing where it cannot be.
    [[nodiscard]] std::optional<core::Sha256> sha256();

  private:
    const modules::Buffer bytes_;
    const core::ImageFacts facts_;
    std::mutex mutex_; ///< of the hash
    std::optional<core::Sha256> sha256_;
};

} // namespace kmodguard::process
