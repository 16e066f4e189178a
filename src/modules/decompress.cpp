// SPDX-License-Identifier: AGPL-3.0-only
//
// What the decoders have in common. The room for the content is sized by the compressed bytes that are there
// and not by what a stream says of its content, which costs nothing to exaggerate; where the guess is too
// large, the rest of it is never touched.
#include "modules/decompress.hpp"

#include "modules/decoder.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <new>
#include <string_view>
#include <utility>

namespace kmodguard::modules {
namespace {

constexpr std::uint64_t step_size = 64U << 10U;
/// Of Debian's xz modules 99 in 100 decompress to less than 7.6 times their size.
constexpr std::uint64_t usual_ratio = 8;

std::unexpected<sys::Error> malformed(std::string_view what, std::string_view why) {
    return sys::failure(sys::ErrorKind::invalid, fmt::format("{}: {}", what, why));
}

std::unexpected<sys::Error> too_large(std::uint64_t limit) {
    return sys::failure(sys::ErrorKind::invalid, fmt::format("uncompressed image exceeds {} bytes", limit));
}

std::unexpected<sys::Error> in_container(std::string_view what, const sys::Error& error) {
    return error.kind == sys::ErrorKind::invalid ? malformed(what, error.what) : std::unexpected(error);
}

/// The compressed bytes, piece by piece.
class Feed {
  public:
    explicit Feed(ByteSource& source)
        : source_(source), buffer_(static_cast<std::size_t>(std::min(step_size, source.size()))) {}

    /// The bytes not yet taken of this piece, or the next piece; empty at the end of the source.
    [[nodiscard]] sys::Result<std::span<const std::byte>> piece() {
        if (piece_.empty() && offset_ < source_.size()) {
            const auto into = buffer_.all().first(
                static_cast<std::size_t>(std::min<std::uint64_t>(buffer_.size(), source_.size() - offset_)));
            TRY(source_.read(offset_, into));
            offset_ += into.size();
            piece_ = into;
        }
        return piece_;
    }

    void take(std::size_t size) { piece_ = piece_.subspan(size); }

    [[nodiscard]] bool at_end() const { return piece_.empty() && offset_ == source_.size(); }

  private:
    ByteSource& source_;
    Buffer buffer_;
    std::span<const std::byte> piece_;
    std::uint64_t offset_ = 0;
};

/// The content, with room for more at its end.
class Content {
  public:
    Content(std::uint64_t limit, std::uint64_t compressed_size) : limit_(limit) {
        bytes_.reserve(
            static_cast<std::size_t>(std::min(limit / usual_ratio, compressed_size) * usual_ratio));
    }

    /// Never empty, for one byte above the limit shows that there is more.
    [[nodiscard]] std::span<std::byte> room() {
        if (filled_ == bytes_.size())
            bytes_.resize(static_cast<std::size_t>(std::min(limit_ + 1, filled_ + step_size)));
        return std::span(bytes_).subspan(filled_);
    }

    void fill(std::size_t size) { filled_ += size; }

    [[nodiscard]] std::size_t size() const { return filled_; }

    [[nodiscard]] std::vector<std::byte> finish() {
        bytes_.resize(filled_);
        return std::move(bytes_);
    }

  private:
    std::vector<std::byte> bytes_;
    std::size_t filled_ = 0;
    std::uint64_t limit_;
};

/// Up to the end of the stream.
sys::Result<void> decode(Decoder& decoder, Feed& feed, Content& content, std::string_view what,
                         std::uint64_t limit) {
    while (true) {
        const auto piece = TRY(feed.piece());
        const auto progress = decoder.step(piece, content.room());
        if (!progress) return in_container(what, progress.error());
        feed.take(progress->taken);
        content.fill(progress->given);
        if (content.size() > limit) return too_large(limit);
        if (progress->ended) return {};
        if (progress->taken == 0 && progress->given == 0)
            return malformed(what, feed.at_end() ? "cut off" : "damaged");
    }
}

sys::Result<std::vector<std::byte>> decompress(ByteSource& source, Container container, std::uint64_t limit) {
    const auto decoder = TRY(make_decoder(container));
    Feed feed(source);
    Content content(limit, source.size());
    TRY(decode(*decoder, feed, content, to_string(container), limit));
    if (!feed.at_end())
        return malformed(to_string(container), "followed by something else, or a second stream");
    if (content.size() == 0) return malformed(to_string(container), "empty");
    return content.finish();
}

std::unexpected<sys::Error> no_memory_to_decompress() {
    return sys::failure(sys::ErrorKind::failed, "not enough memory to decompress an image");
}

/// What a vector has.
std::uint64_t possible(std::uint64_t limit) {
    return std::min<std::uint64_t>(limit, std::numeric_limits<std::ptrdiff_t>::max() - 1);
}

} // namespace

sys::Result<std::vector<std::byte>> decompress(ByteSource& source, std::uint64_t limit) {
    limit = possible(limit);
    try {
        const auto container = TRY(container_of(source));
        if (container != Container::raw) return decompress(source, container, limit);
        if (source.size() > limit) return too_large(limit);
        std::vector<std::byte> content(static_cast<std::size_t>(source.size()));
        TRY(source.read(0, content));
        return content;
    } catch (const std::bad_alloc&) {
        return no_memory_to_decompress();
    }
}

sys::Result<std::vector<std::byte>> decompress(std::span<const std::byte> compressed, std::uint64_t limit) {
    MemorySource source(compressed);
    return decompress(source, limit);
}

sys::Result<std::vector<std::byte>> decompress_stream(Decoder& decoder, std::span<const std::byte> compressed,
                                                      std::string_view what, std::uint64_t limit) {
    limit = possible(limit);
    try {
        MemorySource source(compressed);
        Feed feed(source);
        Content content(limit, compressed.size());
        TRY(decode(decoder, feed, content, what, limit));
        if (content.size() == 0) return malformed(what, "empty");
        return content.finish();
    } catch (const std::bad_alloc&) {
        return no_memory_to_decompress();
    }
}

} // namespace kmodguard::modules
