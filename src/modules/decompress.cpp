// SPDX-License-Identifier: AGPL-3.0-only
//
// What the decoders have in common. The room for the content is sized by the compressed bytes that are there
// and not by what a stream says of its content, which costs nothing to exaggerate; where the guess is too
// large, the rest of it is never touched.
#include "modules/decompress.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <new>
#include <utility>

namespace kmodguard::modules {
namespace {

/// A container's magic number, and what it is called in errors.
struct Form {
    Container container;
    std::string_view name;
    std::string_view magic;
};
using namespace std::string_view_literals;
constexpr std::array<Form, 4> forms = {{{Container::raw, "raw", {}},
                                        {Container::gzip, "gzip", "\x1F\x8B"sv},
                                        {Container::xz, "xz", "\xFD\x37zXZ\0"sv},
                                        {Container::zstd, "zstd", "\x28\xB5\x2F\xFD"sv}}};
constexpr std::size_t max_magic = 6;

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

/// The stream that `source` begins with; `alone`: nothing may follow it.
sys::Result<std::vector<std::byte>> decode(Decoder& decoder, ByteSource& source, std::string_view what,
                                           std::uint64_t limit, bool alone) {
    PieceReader reader(source);
    std::span<const std::byte> piece; // what is left of it
    Content content(limit, source.size());
    for (bool ended = false; !ended;) {
        if (piece.empty()) piece = TRY(reader.next());
        const auto progress = decoder.step(piece, content.room());
        if (!progress) return in_container(what, progress.error());
        piece = piece.subspan(progress->taken);
        content.fill(progress->given);
        if (content.size() > limit) return too_large(limit);
        ended = progress->ended;
        if (!ended && progress->taken == 0 && progress->given == 0)
            return malformed(what, piece.empty() && reader.at_end() ? "cut off" : "damaged");
    }
    if (alone && !(piece.empty() && reader.at_end()))
        return malformed(what, "followed by something else, or a second stream");
    if (content.size() == 0) return malformed(what, "empty");
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

std::string_view to_string(Container container) {
    return forms.at(static_cast<std::size_t>(container)).name;
}

Container container_of(std::span<const std::byte> beginning) {
    const std::string_view text(reinterpret_cast<const char*>(beginning.data()), beginning.size());
    for (const Form& form : forms)
        if (!form.magic.empty() && text.starts_with(form.magic)) return form.container;
    return Container::raw;
}

sys::Result<Container> container_of(ByteSource& source) {
    std::array<std::byte, max_magic> buffer{};
    const auto bytes = std::span(buffer).first(
        static_cast<std::size_t>(std::min<std::uint64_t>(source.size(), buffer.size())));
    TRY(source.read(0, bytes));
    return container_of(bytes);
}

sys::Result<std::vector<std::byte>> decompress(ByteSource& source, std::uint64_t limit) {
    limit = possible(limit);
    try {
        const auto container = TRY(container_of(source));
        if (container != Container::raw) {
            const auto decoder = TRY(make_decoder(container));
            return decode(*decoder, source, to_string(container), limit, true);
        }
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
    MemorySource source(compressed);
    try {
        return decode(decoder, source, what, possible(limit), false);
    } catch (const std::bad_alloc&) {
        return no_memory_to_decompress();
    }
}

} // namespace kmodguard::modules
