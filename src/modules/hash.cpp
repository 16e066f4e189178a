// SPDX-License-Identifier: AGPL-3.0-only
#include "modules/hash.hpp"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include <array>
#include <memory>

namespace kmodguard::modules {

sys::Result<core::Sha256> sha256(ByteSource& source) {
    // To look it up takes longer than to hash a small image. It is never freed: there is one.
    static const EVP_MD* const algorithm = EVP_MD_fetch(nullptr, "SHA256", nullptr);
    const std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> context(EVP_MD_CTX_new(), EVP_MD_CTX_free);
    bool done = algorithm != nullptr && context != nullptr
                && EVP_DigestInit_ex2(context.get(), algorithm, nullptr) == 1;
    PieceReader reader(source);
    while (done && !reader.at_end()) {
        const auto piece = TRY(reader.next());
        done = EVP_DigestUpdate(context.get(), piece.data(), piece.size()) == 1;
    }
    core::Sha256 hash{};
    unsigned int length = 0;
    if (!done || EVP_DigestFinal_ex(context.get(), hash.data(), &length) != 1 || length != hash.size())
        return sys::failure(sys::ErrorKind::failed, "cannot compute a SHA-256 hash",
                            "check that OpenSSL's configuration offers SHA-256");
    return hash;
}

sys::Result<core::Sha256> sha256(std::span<const std::byte> bytes) {
    MemorySource source(bytes);
    return sha256(source);
}

sys::Result<ContentTag> tag_of(std::span<const std::byte> bytes, const ContentKey& key) {
    ContentTag tag{.size = bytes.size()};
    std::size_t size = tag.digest.size();
    // Two rounds a word and four at the end are OpenSSL's default.
    const std::array<OSSL_PARAM, 2> parameters = {OSSL_PARAM_construct_size_t(OSSL_MAC_PARAM_SIZE, &size),
                                                  OSSL_PARAM_construct_end()};
    std::size_t length = 0;
    const auto* const digest =
        EVP_Q_mac(nullptr, "SIPHASH", nullptr, nullptr, parameters.data(), key.bytes.data(), key.bytes.size(),
                  reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), tag.digest.data(),
                  tag.digest.size(), &length);
    if (digest == nullptr || length != size)
        return sys::failure(sys::ErrorKind::failed, "cannot compute a SipHash tag",
                            "check that OpenSSL's configuration offers SIPHASH");
    return tag;
}

} // namespace kmodguard::modules
