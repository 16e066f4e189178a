// SPDX-License-Identifier: AGPL-3.0-only
#include "symbols/kernel_image.hpp"

#include "symbols/kallsyms.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string_view>
#include <utility>

namespace kmodguard::symbols {
namespace {

using Bytes = std::span<const std::byte>;
using Decompressed = sys::Result<std::vector<std::byte>>;

constexpr int max_wrappers = 6;               ///< one in another
constexpr int max_streams = 12;               ///< tried in one scan
constexpr std::uint64_t max_work = 1U << 30U; ///< bytes decompressed in all
/// What an attempt counts that fails, after who knows how many bytes.
constexpr std::uint64_t failed_work = 64U << 20U;

/// What is inside of a wrapper: a part of its bytes, compressed or not.
struct Payload {
    Bytes bytes;
    std::string_view form;
};

bool has_text(Bytes bytes, std::size_t offset, std::string_view text) {
    return KernelBytes(bytes, std::endian::little).has(offset, text.size())
           && as_text(bytes.subspan(offset, text.size())) == text;
}

/// What a wrapper of that form has inside: `size` bytes at `offset`, or as many of them as there are, for
/// firmware images are cut off and padded.
std::optional<Payload> payload(std::string_view form, Bytes bytes, std::uint64_t offset, std::uint64_t size) {
    if (offset == 0 || offset >= bytes.size()) return std::nullopt;
    return Payload{bytes.subspan(offset, std::min<std::uint64_t>(size, bytes.size() - offset)), form};
}

/// U-Boot's legacy header: 64 bytes, big-endian, the size of what follows at 12.
std::optional<Payload> in_uimage(Bytes bytes) {
    constexpr std::size_t header_size = 64;
    const KernelBytes header(bytes, std::endian::big);
    if (!header.has(0, header_size) || header.read<std::uint32_t>(0) != 0x27051956) return std::nullopt;
    return payload("uImage", bytes, header_size, header.read<std::uint32_t>(12));
}

/// The setup header of protocol 2.08 and later says where behind the real-mode code the payload is.
std::optional<Payload> in_bzimage(Bytes bytes) {
    constexpr std::size_t sector = 512;
    const KernelBytes header(bytes, std::endian::little);
    if (!has_text(bytes, 0x202, "HdrS") || !header.has(0x248, 8) || header.read<std::uint16_t>(0x206) < 0x208)
        return std::nullopt;
    const auto setup_sectors = std::to_integer<std::size_t>(bytes[0x1F1]);
    const auto code = ((setup_sectors == 0 ? 4 : setup_sectors) + 1) * sector;
    return payload("bzImage", bytes, code + header.read<std::uint32_t>(0x248),
                   header.read<std::uint32_t>(0x24C));
}

std::optional<Payload> in_zboot(Bytes bytes) {
    const KernelBytes header(bytes, std::endian::little);
    if (!has_text(bytes, 0, "MZ") || !has_text(bytes, 4, "zimg") || !header.has(8, 8)) return std::nullopt;
    return payload("EFI zboot", bytes, header.read<std::uint32_t>(8), header.read<std::uint32_t>(12));
}

std::optional<Payload> in_wrapper(Bytes bytes) {
    for (const auto& open : {in_uimage, in_bzimage, in_zboot}) {
        if (auto inside = open(bytes)) return inside;
    }
    return std::nullopt;
}

/// Whether these are the bytes of a kernel as it runs, and not compressed ones that happen to have a stream
/// in them, as every kernel has (its initramfs).
bool has_kernel_tokens(Bytes bytes) {
    return find_token_table(bytes, 0).has_value();
}

class Unwrapper {
  public:
    explicit Unwrapper(Bytes file) : current_(file) {}

    [[nodiscard]] sys::Result<KernelImage> run() {
        for (int depth = 0; depth < max_wrappers; ++depth) {
            if (const auto inside = in_wrapper(current_)) {
                current_ = inside->bytes;
                note(inside->form);
            } else if (const auto codec = codec_of(current_)) {
                if (auto done = take(decompress(*codec, current_), *codec); !done)
                    return failed(done.error());
            } else if (has_kernel_tokens(current_)) {
                return finish();
            } else if (auto done = scan(); !done) {
                return failed(done.error());
            }
        }
        return sys::failure(sys::ErrorKind::invalid,
                            fmt::format("more than {} wrappers, one in another: {}", max_wrappers, form_));
    }

  private:
    void note(std::string_view form) { form_ += (form_.empty() ? "" : ", ") + std::string(form); }

    [[nodiscard]] Decompressed decompress(Codec codec, Bytes compressed) {
        auto content = decompress_stream(codec, compressed, std::min(max_kernel_image, max_work - work_));
        work_ += content ? content->size() : failed_work;
        return content;
    }

    [[nodiscard]] sys::Result<void> take(Decompressed content, Codec codec) {
        if (!content) return std::unexpected(std::move(content.error()));
        content_ = std::move(*content);
        current_ = content_;
        note(to_string(codec));
        return {};
    }

    /// The first stream somewhere in the bytes that decompresses to a kernel.
    [[nodiscard]] sys::Result<void> scan() {
        std::optional<sys::Error> reason;
        std::size_t from = 0;
        for (int tries = 0; tries < max_streams && work_ < max_work; ++tries) {
            const auto start = find_stream(current_, from);
            if (!start) break;
            auto content = decompress(start->codec, current_.subspan(start->offset));
            if (content && (has_kernel_tokens(*content) || codec_of(*content)))
                return take(std::move(content), start->codec);
            if (!content) reason = std::move(content.error());
            from = start->offset + 1;
        }
        constexpr auto hint =
            "give the image that QEMU boots, the kernel's System.map, or a copy of the guest's "
            "/proc/kallsyms";
        if (!reason)
            return sys::failure(
                sys::ErrorKind::invalid,
                "neither a kernel that lists its symbols (CONFIG_KALLSYMS), nor a compressed one", hint);
        return sys::failure(sys::ErrorKind::invalid,
                            "no kernel in it that can be decompressed: " + reason->what,
                            reason->hint.empty() ? hint : reason->hint);
    }

    [[nodiscard]] sys::Result<KernelImage> failed(const sys::Error& error) const {
        return sys::failure(error.kind, form_.empty() ? error.what : fmt::format("{}: {}", form_, error.what),
                            error.hint);
    }

    [[nodiscard]] KernelImage finish() {
        if (form_.empty()) return {};
        if (content_.empty() || current_.data() != content_.data() || current_.size() != content_.size())
            return {{current_.begin(), current_.end()}, std::move(form_)};
        return {std::move(content_), std::move(form_)};
    }

    std::vector<std::byte> content_; ///< what was decompressed last
    Bytes current_;                  ///< the file, `content_`, or a part of either
    std::string form_;
    std::uint64_t work_ = 0;
};

} // namespace

sys::Result<KernelImage> decompress_kernel(std::span<const std::byte> file) {
    return Unwrapper(file).run();
}

} // namespace kmodguard::symbols
