// SPDX-License-Identifier: AGPL-3.0-only
//
// Appended signatures: one made here the way scripts/sign-file makes it, and what can be wrong with one.
#include "modules/elf_builder.hpp"
#include "modules/image.hpp"

#include <gtest/gtest.h>
#include <openssl/cms.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include <memory>

namespace kmodguard::modules {
namespace {

constexpr std::string_view marker = "~Module signature appended~\n";

template <auto function>
struct Free {
    template <typename T>
    void operator()(T* object) const {
        function(object);
    }
};

/// A CMS message as sign-file writes it: detached, without certificates and signed attributes.
std::string cms_message(const std::string& common_name) {
    const std::unique_ptr<EVP_PKEY, Free<EVP_PKEY_free>> key(EVP_EC_gen("P-256"));
    const std::unique_ptr<X509, Free<X509_free>> certificate(X509_new());
    X509_NAME* name = X509_get_subject_name(certificate.get());
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8,
                               reinterpret_cast<const unsigned char*>(common_name.data()),
                               static_cast<int>(common_name.size()), -1, 0);
    X509_set_issuer_name(certificate.get(), name);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate.get()), 1);
    X509_gmtime_adj(X509_getm_notBefore(certificate.get()), 0);
    X509_gmtime_adj(X509_getm_notAfter(certificate.get()), 3600);
    X509_set_pubkey(certificate.get(), key.get());
    X509_sign(certificate.get(), key.get(), EVP_sha256());

    const unsigned flags = CMS_NOCERTS | CMS_BINARY | CMS_DETACHED | CMS_NOSMIMECAP | CMS_NOATTR;
    const std::unique_ptr<BIO, Free<BIO_free>> content(BIO_new_mem_buf("image", 5));
    const std::unique_ptr<CMS_ContentInfo, Free<CMS_ContentInfo_free>> message(
        CMS_sign(nullptr, nullptr, nullptr, nullptr, flags | CMS_PARTIAL));
    CMS_add1_signer(message.get(), certificate.get(), key.get(), EVP_sha512(), flags);
    CMS_final(message.get(), content.get(), nullptr, flags);
    std::string der(static_cast<std::size_t>(i2d_CMS_ContentInfo(message.get(), nullptr)), '\0');
    auto* at = reinterpret_cast<unsigned char*>(der.data());
    i2d_CMS_ContentInfo(message.get(), &at);
    return der;
}

/// struct module_signature: algorithm, hash, type of key, two lengths, padding, length of the message.
std::string signature_info(std::uint32_t length, char type = 2) {
    std::string info(8, '\0');
    info[2] = type;
    for (int shift = 24; shift >= 0; shift -= 8)
        info += static_cast<char>(length >> shift & 0xFFU);
    return info;
}

Signature signature_of(std::string_view appended) {
    auto image = test::build(test::module_spec("loop"));
    const auto bytes = test::to_bytes(appended);
    image.insert(image.end(), bytes.begin(), bytes.end());
    const auto identity = identify_image(image, {.with_signature = true});
    EXPECT_EQ(identity.facts.problem, "") << "a signature has no bearing on the identity";
    EXPECT_EQ(identity.facts.name, "loop");
    return identity.signature.value();
}

Signature signature_of_message(const std::string& message) {
    return signature_of(message + signature_info(static_cast<std::uint32_t>(message.size()))
                        + std::string(marker));
}

TEST(ImageSignature, NamesSignerAndHash) {
    const auto signature = signature_of_message(cms_message("Debian Secure Boot Signer"));
    EXPECT_TRUE(signature.present);
    EXPECT_EQ(signature.problem, "");
    EXPECT_EQ(signature.signer, "Debian Secure Boot Signer");
    EXPECT_EQ(signature.hash, "sha512");
}

TEST(ImageSignature, IsAbsentWithoutTheMarker) {
    EXPECT_FALSE(signature_of("").present);
    EXPECT_FALSE(signature_of("~Module signature appended~").present);
    EXPECT_FALSE(signature_of(std::string(marker) + "x").present);
}

TEST(ImageSignature, IsReadOnlyWhereAsked) {
    EXPECT_FALSE(identify_image(test::build(test::module_spec("loop"))).signature);
}

TEST(ImageSignature, OfNothingButTheMarkerIsNone) {
    const auto identity = identify_image(test::to_bytes(marker), {.with_signature = true});
    EXPECT_FALSE(identity.signature.value().present);
}

TEST(ImageSignature, UnreadableIsNoFailure) {
    const auto expect_unreadable = [](const std::string& appended, const char* why) {
        const auto signature = signature_of(appended + std::string(marker));
        EXPECT_TRUE(signature.present);
        EXPECT_EQ(signature.problem, std::string("unreadable: ") + why);
        EXPECT_EQ(signature.signer, "");
    };
    expect_unreadable(signature_info(0), "impossible length");
    expect_unreadable(signature_info(0xFFFF'FFFFU), "impossible length");
    expect_unreadable(signature_info(65537), "impossible length");
    expect_unreadable(signature_info(16, 1), "not PKCS #7");
    auto algorithm = signature_info(16);
    algorithm[0] = 1;
    expect_unreadable(algorithm, "not PKCS #7");
    expect_unreadable(std::string(16, 'x') + signature_info(16), "not one PKCS #7 message");
    const auto message = cms_message("x");
    const auto size = static_cast<std::uint32_t>(message.size());
    expect_unreadable(message + "x" + signature_info(size + 1), "not one PKCS #7 message");
    expect_unreadable(message.substr(0, size - 1) + signature_info(size - 1), "not one PKCS #7 message");
}

TEST(ImageSignature, EveryTruncationOfAMessageIsUnreadable) {
    const auto message = cms_message("x");
    for (std::size_t size = 1; size < message.size(); ++size)
        EXPECT_NE(signature_of_message(message.substr(0, size)).problem, "") << size;
}

TEST(ImageSignature, ALongNameIsCut) {
    EXPECT_LE(signature_of_message(cms_message(std::string(64, 'x'))).signer.size(), 256U);
    EXPECT_EQ(signature_of_message(cms_message(std::string(64, 'x'))).signer, std::string(64, 'x'));
}

} // namespace
} // namespace kmodguard::modules
