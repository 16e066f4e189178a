// SPDX-License-Identifier: AGPL-3.0-only
//
// libarchive with one filter set beforehand: its own detection would also unpack what is packed twice, which
// no kernel does. It reads concatenated streams as one, and ignores what follows a gzip member, so both are
// excluded by the framing (image_container) and by how much it took from the source.
#include "modules/decompress.hpp"

#include <archive.h>
#include <archive_entry.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <new>
#include <optional>
#include <string>

namespace kmodguard::modules {
namespace {

constexpr std::uint64_t max_step = 64U << 10U;

struct ArchiveFree {
    void operator()(archive* reader) const { archive_read_free(reader); }
};
using Archive = std::unique_ptr<archive, ArchiveFree>;

/// Hands a ByteSource to libarchive piece by piece.
struct Feed {
    ByteSource& source;
    std::uint64_t offset = 0;
    std::optional<sys::Error> error = std::nullopt;
    Buffer buffer = Buffer(max_step);

    static la_ssize_t next(archive* reader, void* client, const void** piece) {
        auto& feed = *static_cast<Feed*>(client);
        const auto bytes = feed.buffer.all().first(
            static_cast<std::size_t>(std::min(max_step, feed.source.size() - feed.offset)));
        if (auto done = feed.source.read(feed.offset, bytes); !done) {
            archive_set_error(reader, EIO, "read error");
            feed.error = std::move(done.error());
            return ARCHIVE_FATAL;
        }
        feed.offset += bytes.size();
        *piece = bytes.data();
        return static_cast<la_ssize_t>(bytes.size());
    }
};

std::unexpected<sys::Error> malformed(Container container, std::string_view why) {
    return sys::failure(sys::ErrorKind::invalid, fmt::format("{}: {}", to_string(container), why));
}

std::unexpected<sys::Error> too_large(std::uint64_t limit) {
    return sys::failure(sys::ErrorKind::invalid, fmt::format("uncompressed image exceeds {} bytes", limit));
}

std::unexpected<sys::Error> damaged(const Feed& feed, archive* reader, Container container) {
    if (feed.error) return std::unexpected(*feed.error);
    const char* why = archive_error_string(reader);
    return malformed(container, why != nullptr ? why : "damaged or cut off");
}

int filter_of(Container container) {
    switch (container) {
    case Container::gzip: return ARCHIVE_FILTER_GZIP;
    case Container::xz: return ARCHIVE_FILTER_XZ;
    case Container::zstd: return ARCHIVE_FILTER_ZSTD;
    case Container::raw: break;
    }
    return ARCHIVE_FILTER_NONE;
}

sys::Result<std::vector<std::byte>> read_content(const Feed& feed, archive* reader, Container container,
                                                 std::uint64_t limit) {
    const std::uint64_t enough = limit + 1; // one byte more tells that there is more
    std::vector<std::byte> content;
    std::size_t filled = 0;
    while (true) {
        if (filled == content.size())
            content.resize(
                static_cast<std::size_t>(std::min(enough, std::max<std::uint64_t>(max_step, filled * 2))));
        const auto got = archive_read_data(reader, content.data() + filled, content.size() - filled);
        if (got < 0) return damaged(feed, reader, container);
        if (got == 0) break;
        filled += static_cast<std::size_t>(got);
        if (filled > limit) return too_large(limit);
    }
    content.resize(filled);
    return content;
}

/// What the framing cannot tell of gzip: that the member ends where the source does, and is the only one.
sys::Result<void> check_gzip_end(ByteSource& source, archive* reader, std::uint64_t content) {
    const auto taken = archive_filter_bytes(reader, 1); // of the source, by the filter
    if (taken < 0 || static_cast<std::uint64_t>(taken) != source.size())
        return malformed(Container::gzip, "data after the member");
    const auto last = gzip_content_size(source);
    if (!last) return std::unexpected(last.error());
    if (*last != static_cast<std::uint32_t>(content))
        return malformed(Container::gzip, "more than one member");
    return {};
}

sys::Result<std::vector<std::byte>> unpack(ByteSource& source, Container container, std::uint64_t limit) {
    if (auto single = check_single_stream(source, container); !single)
        return std::unexpected(std::move(single.error()));
    const auto feed = std::make_unique<Feed>(source);
    const Archive reader(archive_read_new());
    if (reader == nullptr) return sys::failure(sys::ErrorKind::failed, "not enough memory to decompress");
    archive_entry* entry = nullptr;
    // append_filter answers ARCHIVE_WARN where the codec is an external program; that must not be run.
    if (archive_read_support_format_raw(reader.get()) != ARCHIVE_OK
        || archive_read_append_filter(reader.get(), filter_of(container)) != ARCHIVE_OK
        || archive_read_open(reader.get(), feed.get(), nullptr, Feed::next, nullptr) != ARCHIVE_OK
        || archive_read_next_header(reader.get(), &entry) != ARCHIVE_OK)
        return damaged(*feed, reader.get(), container);
    auto content = read_content(*feed, reader.get(), container, limit);
    if (!content || container != Container::gzip) return content;
    if (auto end = check_gzip_end(source, reader.get(), content->size()); !end)
        return std::unexpected(std::move(end.error()));
    return content;
}

} // namespace

sys::Result<std::vector<std::byte>> decompress(ByteSource& source, std::uint64_t limit) {
    limit = std::min<std::uint64_t>(limit, UINT32_MAX - 1); // gzip counts modulo 2^32
    try {
        const auto container = container_of(source);
        if (!container) return std::unexpected(container.error());
        if (*container != Container::raw) return unpack(source, *container, limit);
        if (source.size() > limit) return too_large(limit);
        std::vector<std::byte> content(static_cast<std::size_t>(source.size()));
        if (auto done = source.read(0, content); !done) return std::unexpected(std::move(done.error()));
        return content;
    } catch (const std::bad_alloc&) {
        return sys::failure(sys::ErrorKind::failed, "not enough memory to decompress a module image");
    }
}

sys::Result<std::vector<std::byte>> decompress(std::span<const std::byte> packed, std::uint64_t limit) {
    MemorySource source(packed);
    return decompress(source, limit);
}

} // namespace kmodguard::modules
