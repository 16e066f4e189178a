// SPDX-License-Identifier: AGPL-3.0-only
//
// SHA-256 by OpenSSL. The algorithm is fetched when a hash is first begun, not at start-up: most runs of the
// daemon never hash anything, and fetching loads OpenSSL's configuration.
#pragma once

#include "core/policy.hpp"
#include "sys/result.hpp"

#include <openssl/types.h>

#include <cstddef>
#include <memory>
#include <span>

namespace kmodguard::modules {

class Sha256Hasher {
  public:
    /// Fails if OpenSSL offers no SHA-256 (a broken configuration).
    [[nodiscard]] static sys::Result<Sha256Hasher> begin();

    [[nodiscard]] sys::Result<void> update(std::span<const std::byte> bytes);

    /// The hash of all bytes given. To be called once; the hasher is of no use afterwards.
    [[nodiscard]] sys::Result<core::Sha256> finish();

  private:
    struct Free {
        void operator()(EVP_MD_CTX* context) const;
    };
    explicit Sha256Hasher(EVP_MD_CTX* context) : context_(context) {}
    std::unique_ptr<EVP_MD_CTX, Free> context_;
};

/// The hash of `bytes`.
[[nodiscard]] sys::Result<core::Sha256> sha256(std::span<const std::byte> bytes);

} // namespace kmodguard::modules
