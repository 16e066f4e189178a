// SPDX-License-Identifier: AGPL-3.0-only
//
// A compiled file: what was found out once, at length and from hostile input, in the form in which it is
// looked up. It is made whole and never changed, so it is mapped and shared by all that read it; what is not
// asked for is never brought into memory.
//
// It consists of tables, each an array of one plain structure, in the machine's own byte order: it is made
// and read on one machine. It is checked as a whole when it is opened; whatever is then read of it is bounded
// all the same, so that no file, however it came to pass the check, has a reader leave it.
#pragma once

#include "sys/result.hpp"
#include "sys/unique_fd.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <unordered_map>
#include <vector>

namespace kmodguard::compiled {

/// Another one for every change of a structure, of a table's meaning, or of how what is in it is found out.
inline constexpr std::uint32_t file_version = 2;
/// Larger ones are refused: the modules of a distribution's kernel take two megabytes.
inline constexpr std::size_t max_file = 256U << 20U;

/// The tables of a file, by what they hold; each kind of file has those that it needs.
enum class Table : std::uint8_t {
    text, ///< all strings, one after the other
    identity,
    inputs,
    modules,
    module_slots,
    names,
    options,
    commands,
    configured_patterns,
    configured_slots,
    configured_lengths,
    configured_families,
    configured_signatures,
    alias_patterns,
    alias_slots,
    alias_lengths,
    alias_families,
    alias_signatures,
    symbol_patterns,
    symbol_slots,
    symbol_lengths,
    symbol_families,
    symbol_signatures,
    built_in_patterns,
    built_in_slots,
    built_in_lengths,
    built_in_families,
    built_in_signatures,
    images,
    count,
};
inline constexpr std::size_t table_count = static_cast<std::size_t>(Table::count);

/// Some of the bytes of Table::text.
struct Text {
    std::uint32_t offset = 0;
    std::uint32_t size = 0;
};

/// Some entries of another table, one after the other.
struct Range {
    std::uint32_t first = 0;
    std::uint32_t count = 0;
};

/// Collects the tables of a file to be.
class FileWriter {
  public:
    /// Every string is kept once.
    [[nodiscard]] Text add(std::string_view text);

    template <typename Entry>
    void set(Table table, const std::vector<Entry>& entries) {
        static_assert(std::is_trivially_copyable_v<Entry> && std::has_unique_object_representations_v<Entry>);
        set_bytes(table, std::as_bytes(std::span(entries)));
    }

    /// The whole file. Fails if it were larger than a reader takes.
    [[nodiscard]] sys::Result<std::string> finish() const;

  private:
    void set_bytes(Table table, std::span<const std::byte> bytes);

    std::string text_;
    std::unordered_map<std::string, Text> known_; ///< where a string is in it
    std::array<std::string, table_count> tables_;
};

/// A file that is mapped for as long as this object lives. It may be moved, and what was taken from it stays
/// valid.
class File {
  public:
    /// Fails, with what is wrong, if it is none, of another version, cut short or damaged.
    [[nodiscard]] static sys::Result<File> open(const std::filesystem::path& path);
    /// The same of an open one.
    [[nodiscard]] static sys::Result<File> open(const sys::UniqueFd& file, std::string_view shown_as);

    /// The same of one that was kept: only root, or this process's own user, may have written it.
    [[nodiscard]] static sys::Result<File> open_kept(const std::filesystem::path& path);
    [[nodiscard]] std::string_view bytes() const { return {static_cast<const char*>(start_), size_}; }

    File(File&& other) noexcept;
    File& operator=(File&& other) noexcept;
    File(const File&) = delete;
    File& operator=(const File&) = delete;
    ~File();

    /// The entries of a table: none if it has not the form of such.
    template <typename Entry>
    [[nodiscard]] std::span<const Entry> table(Table table) const {
        static_assert(std::is_trivially_copyable_v<Entry> && alignof(Entry) <= table_alignment);
        const std::span<const std::byte> bytes = bytes_of(table);
        return {reinterpret_cast<const Entry*>(bytes.data()), bytes.size() / sizeof(Entry)};
    }
    /// What lies outside of the text is empty.
    [[nodiscard]] std::string_view text(Text text) const {
        return text.offset <= text_.size() && text.size <= text_.size() - text.offset
                   ? text_.substr(text.offset, text.size)
                   : std::string_view();
    }
    /// What lies outside of `entries` is left out.
    template <typename Entry>
    [[nodiscard]] static std::span<const Entry> part(std::span<const Entry> entries, Range range) {
        if (range.first > entries.size() || range.count > entries.size() - range.first) return {};
        return entries.subspan(range.first, range.count);
    }

    static constexpr std::size_t table_alignment = 8;

  private:
    File(void* start, std::size_t size);
    [[nodiscard]] std::span<const std::byte> bytes_of(Table table) const;

    void* start_ = nullptr;
    std::size_t size_ = 0;
    std::string_view text_;
};

/// Writes the `bytes` of a file to `path`, for File::open_kept(); makes the folder.
[[nodiscard]] sys::Result<void> keep(std::string_view bytes, const std::filesystem::path& path);

} // namespace kmodguard::compiled
