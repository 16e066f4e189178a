// SPDX-License-Identifier: AGPL-3.0-only
//
// Where an image's bytes come from. The parser asks for the few pieces it needs by offset, so one parser
// serves a buffer in memory and a file of which only some kilobytes are ever read. Files are read with
// pread(2), never mapped: a mapped file that another process truncates kills the reader with SIGBUS.
#pragma once

#include "sys/result.hpp"
#include "sys/unique_fd.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

namespace kmodguard::modules {

class ByteSource {
  public:
    virtual ~ByteSource() = default;

    /// Bytes there are.
    [[nodiscard]] virtual std::uint64_t size() const = 0;

    /// Fills `into` with the bytes from `offset` on. Fails with `invalid` if that goes beyond the end, with
    /// another kind if the bytes exist and cannot be read.
    [[nodiscard]] virtual sys::Result<void> read(std::uint64_t offset, std::span<std::byte> into) = 0;
};

/// Bytes that another object keeps, and keeps unchanged.
class MemorySource final : public ByteSource {
  public:
    explicit MemorySource(std::span<const std::byte> bytes) : bytes_(bytes) {}
    [[nodiscard]] std::uint64_t size() const override { return bytes_.size(); }
    [[nodiscard]] sys::Result<void> read(std::uint64_t offset, std::span<std::byte> into) override;

  private:
    std::span<const std::byte> bytes_;
};

/// An open file of `size` bytes. Its file position is neither used nor moved. The first bytes are kept: they
/// are asked for three times, as a container's magic, as an ELF file's, and as its header.
class FileSource final : public ByteSource {
  public:
    /// `label` names the file in errors. Both it and `file` must outlive the source.
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-member-init): head_ is filled when it is needed
    FileSource(const sys::UniqueFd& file, std::uint64_t size, std::string_view label)
        : file_(file), size_(size), label_(label) {}
    [[nodiscard]] std::uint64_t size() const override { return size_; }
    [[nodiscard]] sys::Result<void> read(std::uint64_t offset, std::span<std::byte> into) override;

  private:
    [[nodiscard]] sys::Result<void> read_file(std::uint64_t offset, std::span<std::byte> into);

    const sys::UniqueFd& file_;
    std::uint64_t size_;
    std::string_view label_;
    std::array<std::byte, 64> head_; ///< sizeof(Elf64_Ehdr)
    std::size_t head_size_ = 0;
};

/// A buffer that is not cleared before it is filled: clearing would cost more than the parsing.
class Buffer {
  public:
    explicit Buffer(std::size_t size)
        : bytes_(std::make_unique_for_overwrite<std::byte[]>(size)), size_(size) {}

    [[nodiscard]] std::size_t size() const { return size_; }
    [[nodiscard]] std::byte* data() { return bytes_.get(); }
    [[nodiscard]] const std::byte* data() const { return bytes_.get(); }
    [[nodiscard]] std::span<std::byte> all() { return {bytes_.get(), size_}; }
    [[nodiscard]] std::span<const std::byte> all() const { return {bytes_.get(), size_}; }

  private:
    std::unique_ptr<std::byte[]> bytes_;
    std::size_t size_;
};

/// Reads a source from its beginning to its end, in pieces of 64 KiB.
class PieceReader {
  public:
    explicit PieceReader(ByteSource& source);

    /// Valid until the next call; empty at the end.
    [[nodiscard]] sys::Result<std::span<const std::byte>> next();
    [[nodiscard]] bool at_end() const { return offset_ == source_.size(); }

  private:
    ByteSource& source_;
    Buffer buffer_;
    std::uint64_t offset_ = 0;
};

/// `size` bytes from `offset` on. Nothing is allocated if the source is shorter.
[[nodiscard]] sys::Result<Buffer> read_range(ByteSource& source, std::uint64_t offset, std::uint64_t size);

} // namespace kmodguard::modules
