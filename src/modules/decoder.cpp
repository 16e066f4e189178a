// SPDX-License-Identifier: AGPL-3.0-only
//
// Where a codec's library and the kernel's decoder read one stream in two ways, the stream is refused; only
// gzip is such a case. Sources: kernel/module/decompress.c, RFC 1952, RFC 8878, The .xz File Format 1.1.
#define ZLIB_CONST // input is const
#include "modules/decompress.hpp"

#include <fmt/format.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include <algorithm>
#include <bit>
#include <limits>
#include <string>
#include <utility>

namespace kmodguard::modules {
namespace {

using Step = sys::Result<Decoder::Progress>;

std::unexpected<sys::Error> invalid(std::string why) {
    return sys::failure(sys::ErrorKind::invalid, std::move(why));
}

std::unexpected<sys::Error> too_large_window(unsigned window_mib) {
    return invalid(fmt::format("takes more than {} MiB of memory to decompress", window_mib));
}

std::unexpected<sys::Error> out_of_memory() {
    return sys::failure(sys::ErrorKind::failed, "not enough memory to decompress a module image");
}

// NOLINTBEGIN(*-reinterpret-cast): octets are unsigned char to zlib and liblzma
const std::uint8_t* octets(std::span<const std::byte> bytes) {
    return reinterpret_cast<const std::uint8_t*>(bytes.data());
}

std::uint8_t* octets(std::span<std::byte> bytes) {
    return reinterpret_cast<std::uint8_t*>(bytes.data());
}
// NOLINTEND(*-reinterpret-cast)

/// zlib, which verifies the member's CRC and size, and ends behind them.
class GzipDecoder final : public Decoder {
  public:
    ~GzipDecoder() override { ::inflateEnd(&stream_); }

    [[nodiscard]] bool begin() {
        constexpr int gzip_only = 16;
        return inflateInit2(&stream_, gzip_only + MAX_WBITS) == Z_OK;
    }

    [[nodiscard]] Step step(std::span<const std::byte> compressed, std::span<std::byte> room) override {
        TRY(check_flags(compressed));
        constexpr std::size_t most = std::numeric_limits<uInt>::max();
        compressed = compressed.first(std::min(compressed.size(), most));
        room = room.first(std::min(room.size(), most));
        stream_.next_in = octets(compressed);
        stream_.avail_in = static_cast<uInt>(compressed.size());
        stream_.next_out = octets(room);
        stream_.avail_out = static_cast<uInt>(room.size());
        const int status = ::inflate(&stream_, Z_NO_FLUSH);
        if (status == Z_MEM_ERROR) return out_of_memory();
        if (status != Z_OK && status != Z_STREAM_END && status != Z_BUF_ERROR)
            return invalid(stream_.msg != nullptr ? stream_.msg : "damaged");
        return Progress{compressed.size() - stream_.avail_in, room.size() - stream_.avail_out,
                        status == Z_STREAM_END};
    }

  private:
    /// A kernel skips the file name and nothing else: an extra field, a comment or the header's checksum it
    /// reads as content, so that such a member is one image to zlib and another to the kernel.
    [[nodiscard]] sys::Result<void> check_flags(std::span<const std::byte> compressed) const {
        constexpr std::size_t flags_at = 3;
        constexpr std::byte file_name{0x08};
        const auto begin = stream_.total_in;
        if (begin <= flags_at && flags_at - begin < compressed.size()
            && (compressed[flags_at - begin] & ~file_name) != std::byte{0})
            return invalid("a header field that kernels take for content");
        return {};
    }

    z_stream stream_{};
};

/// Either format of liblzma. Without LZMA_CONCATENATED .xz ends behind the footer, after it compared the
/// index with the blocks.
class XzDecoder final : public Decoder {
  public:
    explicit XzDecoder(unsigned window_mib) : window_mib_(window_mib) {}
    ~XzDecoder() override { ::lzma_end(&stream_); }

    [[nodiscard]] bool begin() {
        return ::lzma_stream_decoder(&stream_, memory(), LZMA_TELL_UNSUPPORTED_CHECK) == LZMA_OK;
    }

    [[nodiscard]] bool begin_lzma() { return ::lzma_alone_decoder(&stream_, memory()) == LZMA_OK; }

    [[nodiscard]] Step step(std::span<const std::byte> compressed, std::span<std::byte> room) override {
        stream_.next_in = octets(compressed);
        stream_.avail_in = compressed.size();
        stream_.next_out = octets(room);
        stream_.avail_out = room.size();
        const auto status = ::lzma_code(&stream_, LZMA_RUN);
        switch (status) {
        case LZMA_OK:
        case LZMA_BUF_ERROR: // no progress
        case LZMA_STREAM_END:
            return Progress{compressed.size() - stream_.avail_in, room.size() - stream_.avail_out,
                            status == LZMA_STREAM_END};
        case LZMA_MEM_ERROR: return out_of_memory();
        case LZMA_MEMLIMIT_ERROR: return too_large_window(window_mib_);
        case LZMA_UNSUPPORTED_CHECK: return invalid("a checksum of an unknown kind");
        case LZMA_OPTIONS_ERROR: return invalid("a filter or option that is not supported");
        default: return invalid("damaged");
        }
    }

  private:
    [[nodiscard]] std::uint64_t memory() const { return std::uint64_t{window_mib_} << 20U; }

    lzma_stream stream_ = LZMA_STREAM_INIT;
    unsigned window_mib_;
};

/// libzstd, which verifies the checksum where there is one, and ends behind the frame.
class ZstdDecoder final : public Decoder {
  public:
    explicit ZstdDecoder(unsigned window_mib) : window_mib_(window_mib) {}

    [[nodiscard]] bool begin() {
        const auto window_log = static_cast<int>(std::bit_width(std::uint64_t{window_mib_} << 20U)) - 1;
        context_.reset(::ZSTD_createDCtx());
        return context_ != nullptr
               && ::ZSTD_isError(::ZSTD_DCtx_setParameter(context_.get(), ZSTD_d_windowLogMax, window_log))
                      == 0;
    }

    [[nodiscard]] Step step(std::span<const std::byte> compressed, std::span<std::byte> room) override {
        ZSTD_inBuffer input{compressed.data(), compressed.size(), 0};
        ZSTD_outBuffer output{room.data(), room.size(), 0};
        const auto status = ::ZSTD_decompressStream(context_.get(), &output, &input);
        if (::ZSTD_isError(status) == 0) return Progress{input.pos, output.pos, status == 0};
        switch (::ZSTD_getErrorCode(status)) {
        case ZSTD_error_memory_allocation: return out_of_memory();
        case ZSTD_error_frameParameter_windowTooLarge: return too_large_window(window_mib_);
        default: return invalid(::ZSTD_getErrorName(status));
        }
    }

  private:
    struct Free {
        void operator()(ZSTD_DCtx* context) const { ::ZSTD_freeDCtx(context); }
    };
    std::unique_ptr<ZSTD_DCtx, Free> context_;
    unsigned window_mib_;
};

template <typename OneDecoder, typename... Arguments>
sys::Result<std::unique_ptr<Decoder>> begun(Arguments... arguments) {
    auto decoder = std::make_unique<OneDecoder>(arguments...);
    if (!decoder->begin()) return out_of_memory();
    return decoder;
}

} // namespace

sys::Result<std::unique_ptr<Decoder>> make_decoder(Container container, unsigned window_mib) {
    switch (container) {
    case Container::gzip: return begun<GzipDecoder>();
    case Container::xz: return begun<XzDecoder>(window_mib);
    case Container::zstd: return begun<ZstdDecoder>(window_mib);
    case Container::raw: break;
    }
    std::unreachable();
}

sys::Result<std::unique_ptr<Decoder>> make_lzma_decoder(unsigned window_mib) {
    auto decoder = std::make_unique<XzDecoder>(window_mib);
    if (!decoder->begin_lzma()) return out_of_memory();
    return decoder;
}

} // namespace kmodguard::modules
