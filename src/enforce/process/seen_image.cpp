// SPDX-License-Identifier: AGPL-3.0-only
#include "enforce/process/seen_image.hpp"

#include "modules/hash.hpp"

#include <cstring>
#include <utility>

namespace kmodguard::process {

SeenImage::SeenImage(modules::Buffer bytes, core::ImageFacts facts)
    : bytes_(std::move(bytes)), facts_(std::move(facts)), sha256_(facts_.sha256) {}

bool SeenImage::is(std::span<const std::byte> bytes) const {
    return bytes.size() == bytes_.size() && std::memcmp(bytes.data(), bytes_.data(), bytes.size()) == 0;
}

std::optional<core::Sha256> SeenImage::sha256() {
    const std::scoped_lock lock(mutex_);
    if (!sha256_)
        if (const auto hash = modules::sha256(bytes_.all())) sha256_ = *hash;
    return sha256_;
}

} // namespace kmodguard::process
