// SPDX-License-Identifier: AGPL-3.0-only
//
// A keyed digest of a file's bytes. Where the kernel decompresses modules itself (6.12), its security hook is
// shown the compressed bytes only, in which no name can be read. There the BPF program computes this tag over
// the very bytes that the kernel has, and admits those whose tag it was given. The key is random, new with
// each boot, and secret, so that no process can make other bytes of the same tag; SHA-256 would need no key,
// and cost ten times as much there.
#pragma once

#include "sys/result.hpp"

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <span>

namespace kmodguard::modules {

struct ContentKey {
    std::array<std::uint8_t, 16> bytes{};

    /// A new one, by getrandom(2).
    [[nodiscard]] static sys::Result<ContentKey> random();
};

struct ContentTag {
    std::uint64_t size = 0;                ///< bytes of the content
    std::array<std::uint8_t, 16> digest{}; ///< SipHash-2-4 with 128 bits, as the reference writes them

    auto operator<=>(const ContentTag&) const = default;
};

/// The tag of `bytes` under `key`. Fails if OpenSSL offers no SipHash.
[[nodiscard]] sys::Result<ContentTag> tag_of(std::span<const std::byte> bytes, const ContentKey& key);

} // namespace kmodguard::modules
