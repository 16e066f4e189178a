// SPDX-License-Identifier: AGPL-3.0-only
#include "modules/image_source.hpp"

#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace kmodguard::modules {
namespace {

constexpr std::uint64_t max_piece = 64U << 10U;

bool within(std::uint64_t offset, std::uint64_t length, std::uint64_t size) {
    return offset <= size && length <= size - offset;
}

std::unexpected<sys::Error> beyond_end() {
    return sys::failure(sys::ErrorKind::invalid, "ends too early");
}

} // namespace

sys::Result<void> MemorySource::read(std::uint64_t offset, std::span<std::byte> into) {
    if (!within(offset, into.size(), bytes_.size())) return beyond_end();
    std::ranges::copy(bytes_.subspan(static_cast<std::size_t>(offset), into.size()), into.begin());
    return {};
}

sys::Result<void> FileSource::read(std::uint64_t offset, std::span<std::byte> into) {
    if (!within(offset, into.size(), size_)) return beyond_end();
    if (offset > head_.size() || into.size() > head_.size() - offset) return read_file(offset, into);
    if (head_size_ == 0 && size_ != 0) {
        const auto head =
            std::span(head_).first(static_cast<std::size_t>(std::min<std::uint64_t>(size_, head_.size())));
        TRY(read_file(0, head));
        head_size_ = head.size();
    }
    std::ranges::copy(std::span(head_).subspan(static_cast<std::size_t>(offset), into.size()), into.begin());
    return {};
}

sys::Result<void> FileSource::read_file(std::uint64_t offset, std::span<std::byte> into) {
    while (!into.empty()) {
        const ssize_t got = ::pread(file_.get(), into.data(), into.size(), static_cast<off_t>(offset));
        if (got < 0) {
            if (errno == EINTR) continue;
            return sys::system_failure("cannot read", label_);
        }
        if (got == 0) return beyond_end();
        into = into.subspan(static_cast<std::size_t>(got));
        offset += static_cast<std::uint64_t>(got);
    }
    return {};
}

PieceReader::PieceReader(ByteSource& source)
    : source_(source), buffer_(static_cast<std::size_t>(std::min(max_piece, source.size()))) {}

sys::Result<std::span<const std::byte>> PieceReader::next() {
    if (at_end()) return std::span<const std::byte>();
    const auto size = std::min<std::uint64_t>(buffer_.size(), source_.size() - offset_);
    const auto piece = buffer_.all().first(static_cast<std::size_t>(size));
    TRY(source_.read(offset_, piece));
    offset_ += size;
    return piece;
}

sys::Result<Buffer> read_range(ByteSource& source, std::uint64_t offset, std::uint64_t size) {
    if (!within(offset, size, source.size())) return beyond_end();
    Buffer bytes(static_cast<std::size_t>(size));
    TRY(source.read(offset, bytes.all()));
    return bytes;
}

} // namespace kmodguard::modules
