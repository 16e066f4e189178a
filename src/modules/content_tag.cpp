// SPDX-License-Identifier: AGPL-3.0-only
#include "modules/content_tag.hpp"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <sys/random.h>

#include <memory>

namespace kmodguard::modules {
namespace {

struct Free {
    void operator()(EVP_MAC* algorithm) const { EVP_MAC_free(algorithm); }
    void operator()(EVP_MAC_CTX* context) const { EVP_MAC_CTX_free(context); }
};

using MacContext = std::unique_ptr<EVP_MAC_CTX, Free>;

/// Ready for the content, or nullptr. Two rounds a word and four at the end are OpenSSL's default.
MacContext begin(const ContentKey& key, std::size_t digest_size) {
    const std::unique_ptr<EVP_MAC, Free> algorithm(EVP_MAC_fetch(nullptr, "SIPHASH", nullptr));
    if (algorithm == nullptr) return nullptr;
    MacContext context(EVP_MAC_CTX_new(algorithm.get()));
    const std::array<OSSL_PARAM, 2> parameters = {
        OSSL_PARAM_construct_size_t(OSSL_MAC_PARAM_SIZE, &digest_size), OSSL_PARAM_construct_end()};
    if (context == nullptr
        || EVP_MAC_init(context.get(), key.bytes.data(), key.bytes.size(), parameters.data()) != 1)
        return nullptr;
    return context;
}

} // namespace

sys::Result<ContentKey> ContentKey::random() {
    ContentKey key;
    ssize_t got = 0;
    do
        got = ::getrandom(key.bytes.data(), key.bytes.size(), 0);
    while (got < 0 && errno == EINTR);
    // So few bytes are given whole or not at all.
    if (got != static_cast<ssize_t>(key.bytes.size()))
        return sys::system_failure("cannot get", "random bytes");
    return key;
}

sys::Result<ContentTag> tag_of(std::span<const std::byte> bytes, const ContentKey& key) {
    ContentTag tag{.size = bytes.size()};
    const MacContext context = begin(key, tag.digest.size());
    std::size_t length = 0;
    const bool done =
        context != nullptr
        && EVP_MAC_update(context.get(), reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size())
               == 1
        && EVP_MAC_final(context.get(), tag.digest.data(), &length, tag.digest.size()) == 1
        && length == tag.digest.size();
    if (!done)
        return sys::failure(sys::ErrorKind::failed, "cannot compute a SipHash tag",
                            "check that OpenSSL's configuration offers SIPHASH");
    return tag;
}

} // namespace kmodguard::modules
