// SPDX-License-Identifier: AGPL-3.0-only
//
// An image is signed by appending: PKCS #7 message (DER), struct module_signature, marker. The struct has the
// length of the message, big-endian, in its last four bytes, and says 2 (PKEY_ID_PKCS7) in its third; all
// else in it must be zero.
#include "core/names.hpp"
#include "modules/image_parts.hpp"

#include <fmt/format.h>
#include <openssl/cms.h>
#include <openssl/err.h>
#include <openssl/objects.h>
#include <openssl/x509.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <string_view>

namespace kmodguard::modules {
namespace {

constexpr std::string_view marker = "~Module signature appended~\n";
constexpr std::size_t info_size = 12; ///< struct module_signature
constexpr unsigned char pkcs7 = 2;
constexpr std::uint64_t max_message = 64U << 10U;
constexpr std::size_t max_signer = 256;

Signature unreadable(std::string_view why) {
    return {.present = true, .problem = fmt::format("unreadable: {}", why), .signer = {}, .hash = {}};
}

/// The common name in `name`, cut to max_signer bytes; empty if it has none.
std::string common_name(const X509_NAME* name) {
    const int index = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
    if (index < 0) return {};
    const ASN1_STRING* value = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, index));
    unsigned char* utf8 = nullptr;
    const int length = ASN1_STRING_to_UTF8(&utf8, value);
    if (length < 0) return {};
    const std::unique_ptr<unsigned char, void (*)(unsigned char*)> owner(
        utf8, [](unsigned char* text) { OPENSSL_free(text); });
    return {reinterpret_cast<const char*>(utf8), std::min(static_cast<std::size_t>(length), max_signer)};
}

std::string key_identifier(const ASN1_OCTET_STRING* id) {
    const std::span bytes(ASN1_STRING_get0_data(id), static_cast<std::size_t>(ASN1_STRING_length(id)));
    return core::to_hex(bytes.first(std::min(bytes.size(), max_signer / 2)));
}

std::string digest_name(CMS_SignerInfo* signer) {
    X509_ALGOR* digest = nullptr;
    CMS_SignerInfo_get0_algs(signer, nullptr, nullptr, &digest, nullptr);
    const ASN1_OBJECT* object = nullptr;
    X509_ALGOR_get0(&object, nullptr, nullptr, digest);
    const char* name = OBJ_nid2ln(OBJ_obj2nid(object));
    return name != nullptr ? name : "";
}

Signature describe(std::span<const std::byte> message) {
    const auto* at = reinterpret_cast<const unsigned char*>(message.data());
    const auto* end = at + message.size();
    const std::unique_ptr<CMS_ContentInfo, void (*)(CMS_ContentInfo*)> cms(
        d2i_CMS_ContentInfo(nullptr, &at, static_cast<long>(message.size())), CMS_ContentInfo_free);
    if (cms == nullptr || at != end) return unreadable("not one PKCS #7 message");
    STACK_OF(CMS_SignerInfo)* signers = CMS_get0_SignerInfos(cms.get());
    if (signers == nullptr || sk_CMS_SignerInfo_num(signers) < 1) return unreadable("it names no signer");

    CMS_SignerInfo* signer = sk_CMS_SignerInfo_value(signers, 0);
    ASN1_OCTET_STRING* key = nullptr;
    X509_NAME* issuer = nullptr;
    if (CMS_SignerInfo_get0_signer_id(signer, &key, &issuer, nullptr) != 1) return unreadable("no signer");
    Signature signature{.present = true, .problem = {}, .signer = {}, .hash = digest_name(signer)};
    if (issuer != nullptr)
        signature.signer = common_name(issuer);
    else if (key != nullptr)
        signature.signer = key_identifier(key);
    return signature;
}

} // namespace

sys::Result<bool> has_signature(ByteSource& source) {
    std::array<char, marker.size()> end{};
    if (source.size() < end.size()) return false;
    TRY(source.read(source.size() - end.size(), std::as_writable_bytes(std::span(end))));
    return std::string_view(end.data(), end.size()) == marker;
}

sys::Result<Signature> read_signature(ByteSource& source) {
    std::array<unsigned char, info_size + marker.size()> tail{};
    if (source.size() < tail.size()) return Signature{};
    std::uint64_t end = source.size() - tail.size();
    TRY(source.read(end, std::as_writable_bytes(std::span(tail))));
    if (std::memcmp(tail.data() + info_size, marker.data(), marker.size()) != 0) return Signature{};

    const std::span info(tail.data(), info_size);
    const auto is_zero = [](unsigned char byte) { return byte == 0; };
    if (info[2] != pkcs7 || !std::ranges::all_of(info.first(2), is_zero)
        || !std::ranges::all_of(info.subspan(3, 5), is_zero))
        return unreadable("not PKCS #7");
    std::uint64_t length = 0;
    for (const unsigned char byte : info.subspan(8))
        length = length << 8U | byte;
    if (length == 0 || length > end || length > max_message) return unreadable("impossible length");

    const auto message = TRY(read_range(source, end - length, length));
    ERR_set_mark();
    auto signature = describe(message.all());
    ERR_pop_to_mark(); // what OpenSSL noted of a bad message must not surface in a later, unrelated call
    return signature;
}

} // namespace kmodguard::modules
