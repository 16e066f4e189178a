// SPDX-License-Identifier: AGPL-3.0-only
#include "modules/hash.hpp"

#include <openssl/evp.h>

namespace kmodguard::modules {
namespace {

/// To look it up takes longer than to hash a small image. It is never freed: there is one.
const EVP_MD* algorithm() {
    static const EVP_MD* const found = EVP_MD_fetch(nullptr, "SHA256", nullptr);
    return found;
}

std::unexpected<sys::Error> hash_failure() {
    return sys::failure(sys::ErrorKind::failed, "cannot compute a SHA-256 hash",
                        "check that OpenSSL's configuration offers SHA-256");
}

} // namespace

void Sha256Hasher::Free::operator()(EVP_MD_CTX* context) const {
    EVP_MD_CTX_free(context);
}

sys::Result<Sha256Hasher> Sha256Hasher::begin() {
    Sha256Hasher hasher(EVP_MD_CTX_new());
    if (algorithm() == nullptr || hasher.context_ == nullptr
        || EVP_DigestInit_ex2(hasher.context_.get(), algorithm(), nullptr) != 1)
        return hash_failure();
    return hasher;
}

sys::Result<void> Sha256Hasher::update(std::span<const std::byte> bytes) {
    if (EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) != 1) return hash_failure();
    return {};
}

sys::Result<core::Sha256> Sha256Hasher::finish() {
    core::Sha256 hash{};
    unsigned int length = 0;
    if (EVP_DigestFinal_ex(context_.get(), hash.data(), &length) != 1 || length != hash.size())
        return hash_failure();
    return hash;
}

sys::Result<core::Sha256> sha256(std::span<const std::byte> bytes) {
    auto hasher = TRY(Sha256Hasher::begin());
    TRY(hasher.update(bytes));
    return hasher.finish();
}

} // namespace kmodguard::modules
