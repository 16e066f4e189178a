// SPDX-License-Identifier: AGPL-3.0-only
//
// What is asked of an image file, by those that do not read any themselves: its bytes are hostile.
#pragma once

#include "core/module_index.hpp"
#include "sys/file.hpp"
#include "sys/result.hpp"
#include "sys/unique_fd.hpp"

#include <array>
#include <compare>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace kmodguard::compiled {

struct ContentKey {
    std::array<std::uint8_t, 16> bytes{};

    /// A new one, by getentropy(3).
    [[nodiscard]] static sys::Result<ContentKey> random();
};

/// A keyed digest of a file's bytes. Where the kernel decompresses modules itself (6.12), its security hook
/// is shown the compressed bytes only, in which no name can be read. There the BPF program computes this tag
/// over the very bytes that the kernel has, and admits those whose tag it was given. The key is random, new
/// with each boot, and secret, so that no process can make other bytes of the same tag; SHA-256 would need no
/// key, and cost ten times as much there.
struct ContentTag {
    std::uint64_t size = 0;                ///< bytes of the content
    std::array<std::uint8_t, 16> digest{}; ///< SipHash-2-4 with 128 bits, as the reference writes them

    auto operator<=>(const ContentTag&) const = default;
};

/// What is compressed in a file, as a file in memory.
struct UnpackedFile {
    std::string name;        ///< for people who look into /proc, and the kernel's records
    std::uint64_t limit = 0; ///< bytes: a larger one is not made
};

class ImageReader {
  public:
    struct Wanted {
        bool hash = false;
        bool aliases = false;
        bool is_signed = false;
        std::optional<ContentKey> key = std::nullopt; ///< where the tag of the file's bytes is wanted
        std::optional<UnpackedFile> unpacked = std::nullopt;
    };
    struct Read {
        sys::FileIdentity file;                       ///< that was read
        core::ImageFacts facts;                       ///< without a state
        std::optional<ContentTag> tag = std::nullopt; ///< where asked for; never of an image with a problem
        /// Sealed, where asked for: the bytes that `facts` are of. Empty of a file that is not compressed, an
        /// image with a problem, and where there is no memory for it.
        sys::UniqueFd unpacked{};
    };

    ImageReader() = default;
    ImageReader(const ImageReader&) = delete;
    ImageReader& operator=(const ImageReader&) = delete;
    virtual ~ImageReader() = default;

    /// What the regular file `image` holds now. An error if it cannot be opened or read, or changed
    /// meanwhile.
    [[nodiscard]] virtual sys::Result<Read> read(const std::filesystem::path& image,
                                                 const Wanted& wanted) = 0;
};

} // namespace kmodguard::compiled
