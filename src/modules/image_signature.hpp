// SPDX-License-Identifier: AGPL-3.0-only
//
// The signature at the end of an image, for people to look at: "signed by X with sha256". Nothing is verified
// here and no decision may rest on it: any writer of the file can append a signature in any name. Whether a
// signature is good only the kernel says, which has the keys.
#pragma once

#include "modules/image_source.hpp"
#include "sys/result.hpp"

#include <string>

namespace kmodguard::modules {

struct Signature {
    bool present = false; ///< the image ends in "~Module signature appended~\n"
    std::string problem;  ///< why the rest is empty: "unreadable: ..."; empty when it is not
    std::string signer; ///< common name of the issuer, or the key identifier in hexadecimal; unverified text
    std::string hash;   ///< digest algorithm: "sha256"
};

/// Reads the signature of `source`, at most 64 KiB of it. A signature that cannot be read is a Signature with
/// a problem; only a source that cannot be read is an error. Source: include/linux/module_signature.h,
/// scripts/sign-file.c.
[[nodiscard]] sys::Result<Signature> read_signature(ByteSource& source);

/// Whether there is one at all. The kernel takes an image without for unsigned; one with it may be no good.
[[nodiscard]] sys::Result<bool> has_signature(ByteSource& source);

} // namespace kmodguard::modules
