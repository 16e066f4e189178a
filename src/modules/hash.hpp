// SPDX-License-Identifier: AGPL-3.0-only
//
// Digests of an image, by OpenSSL: SHA-256, which a policy pins, and the keyed tag by which the kernel point
// recognises compressed content. The algorithms are fetched when they are first used, not at start-up: most
// runs of the daemon never hash anything, and fetching loads OpenSSL's configuration.
#pragma once

#include "compiled/image_reader.hpp"
#include "core/policy.hpp"
#include "modules/image_source.hpp"
#include "sys/result.hpp"

#include <cstddef>
#include <span>

namespace kmodguard::modules {

/// The hash of all bytes of `source`, read piece by piece, or the source's error. Fails if OpenSSL offers no
/// SHA-256 (a broken configuration).
[[nodiscard]] sys::Result<core::Sha256> sha256(ByteSource& source);
[[nodiscard]] sys::Result<core::Sha256> sha256(std::span<const std::byte> bytes);

using compiled::ContentKey;
using compiled::ContentTag;

/// The tag of `bytes` under `key`. Fails if OpenSSL offers no SipHash.
[[nodiscard]] sys::Result<ContentTag> tag_of(std::span<const std::byte> bytes, const ContentKey& key);

} // namespace kmodguard::modules
