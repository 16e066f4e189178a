// SPDX-License-Identifier: AGPL-3.0-only
//
// Digests of an image, by OpenSSL: SHA-256, which a policy pins, and the keyed tag by which the kernel point
// recognises compressed content. The algorithms are fetched when they are first used, not at start-up: most
// runs of the daemon never hash anything, and fetching loads OpenSSL's configuration.
#pragma once

#include "core/policy.hpp"
#include "modules/image_source.hpp"
#include "sys/result.hpp"

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <span>

namespace kmodguard::modules {

/// The hash of all bytes of `source`, read piece by piece, or the source's error. Fails if OpenSSL offers no
/// SHA-256 (a broken configuration).
[[nodiscard]] sys::Result<core::Sha256> sha256(ByteSource& source);
[[nodiscard]] sys::Result<core::Sha256> sha256(std::span<const std::byte> bytes);

struct ContentKey {
    std::array<std::uint8_t, 16> bytes{};

    /// A new one, by getentropy(3).
    [[nodiscard]] static sys::Result<ContentKey> random();
};

/// A keyed digest of a file's bytes. Where the kernel decompresses modules itself (6.12), its security hook
/// is shown the compressed bytes only, in which no name can be read. There the BPF program computes this tag
/// over the very bytes that the kernel has, and admits those whose tag it was given. The key is random, new
/// with each boot, and secret, so that no process can make other bytes of the same tag; SHA-256 would need no
/// key, and cost ten times as much there.
struct ContentTag {
    std::uint64_t size = 0;                ///< bytes of the content
    std::array<std::uint8_t, 16> digest{}; ///< SipHash-2-4 with 128 bits, as the reference writes them

    auto operator<=>(const ContentTag&) const = default;
};

/// The tag of `bytes` under `key`. Fails if OpenSSL offers no SipHash.
[[nodiscard]] sys::Result<ContentTag> tag_of(std::span<const std::byte> bytes, const ContentKey& key);

} // namespace kmodguard::modules
