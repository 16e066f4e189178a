// SPDX-License-Identifier: AGPL-3.0-only
//
// Test vectors: FIPS 180-4 as published with NIST's examples.
#include "modules/elf_builder.hpp"
#include "modules/hash.hpp"

#include <gtest/gtest.h>
#include <openssl/evp.h>

#include <span>

namespace kmodguard::modules {
namespace {

TEST(Sha256, GivesThePublishedHashes) {
    EXPECT_EQ(core::to_hex(sha256({}).value()),
              "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    EXPECT_EQ(core::to_hex(sha256(test::to_bytes("abc")).value()),
              "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(Sha256, InPiecesIsTheSame) {
    const test::Bytes bytes(300'000, std::byte{'x'}); // more than is read at once
    core::Sha256 whole{};
    ASSERT_EQ(EVP_Digest(bytes.data(), bytes.size(), whole.data(), nullptr, EVP_sha256(), nullptr), 1);
    EXPECT_EQ(sha256(bytes).value(), whole);
}

} // namespace
} // namespace kmodguard::modules
