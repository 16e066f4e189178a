// SPDX-License-Identifier: AGPL-3.0-only
#include "compiled/file.hpp"

#include "sys/file.hpp"

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#define XXH_INLINE_ALL // one function of it
#include <xxhash.h>

#include <algorithm>
#include <cstring>
#include <utility>

namespace kmodguard::compiled {
namespace {

constexpr std::array<char, 8> magic = {'K', 'M', 'G', 'T', 'A', 'B', 'L', 'E'};

struct Place {
    std::uint64_t offset = 0;
    std::uint64_t size = 0; ///< bytes
};

struct Header {
    std::array<char, 8> magic = compiled::magic;
    std::uint32_t version = file_version;
    std::uint32_t tables = table_count;
    std::uint64_t size = 0;     ///< of the whole file
    std::uint64_t checksum = 0; ///< XXH3 of all that follows this member
    std::array<Place, table_count> places;
};
constexpr std::size_t checked_from = offsetof(Header, places);

/// Accidents are found by it. Who may write the file could as well write a right one.
class Checksum {
  public:
    Checksum() { XXH3_64bits_reset(&state_); }
    void add(std::string_view bytes) { XXH3_64bits_update(&state_, bytes.data(), bytes.size()); }
    [[nodiscard]] std::uint64_t value() const { return XXH3_64bits_digest(&state_); }

  private:
    XXH3_state_t state_{};
};

/// Fills `bytes`, or as much of it as there is.
sys::Result<std::size_t> read_at(const sys::UniqueFd& file, std::size_t offset, std::span<char> bytes,
                                 std::string_view shown_as) {
    const ssize_t count = ::pread(file.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (count < 0) return sys::system_failure("cannot read", shown_as);
    return static_cast<std::size_t>(count);
}

std::unexpected<sys::Error> unusable(std::string_view shown_as, std::string_view why) {
    return sys::failure(sys::ErrorKind::invalid, fmt::format("{} {}", shown_as, why),
                        "it is made again by itself");
}

/// Whether the file's header is one of this version, for a file of `size` bytes.
sys::Result<Header> read_header(const sys::UniqueFd& file, std::size_t size, std::string_view shown_as) {
    Header header;
    const auto count = TRY(read_at(file, 0, {reinterpret_cast<char*>(&header), sizeof header}, shown_as));
    if (count < sizeof header) return unusable(shown_as, "is cut short");
    if (header.magic != magic) return unusable(shown_as, "is no compiled file");
    if (header.version != file_version || header.tables != table_count)
        return unusable(shown_as, "was compiled by another version");
    if (header.size != size) return unusable(shown_as, "is cut short");
    return header;
}

/// Whether all of a mapped file is as it was made. Its pages are given back, so that only what is asked for
/// later counts as this process's memory.
sys::Result<void> check(void* start, const Header& header, std::string_view shown_as) {
    const std::string_view bytes(static_cast<const char*>(start), header.size);
    Checksum checksum;
    checksum.add(bytes.substr(checked_from));
    ::madvise(start, bytes.size(), MADV_DONTNEED);
    if (checksum.value() != header.checksum) return unusable(shown_as, "is damaged");
    return {};
}

} // namespace

Text FileWriter::add(std::string_view text) {
    const auto [known, is_new] = known_.try_emplace(std::string(text));
    if (is_new) {
        known->second = {static_cast<std::uint32_t>(text_.size()), static_cast<std::uint32_t>(text.size())};
        text_ += text;
    }
    return known->second;
}

void FileWriter::set_bytes(Table table, std::span<const std::byte> bytes) {
    tables_.at(static_cast<std::size_t>(table))
        .assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

sys::Result<std::string> FileWriter::finish() const {
    Header header;
    std::string body;
    std::size_t total = sizeof header + text_.size();
    for (const std::string& table : tables_)
        total += table.size() + File::table_alignment;
    if (total > max_file)
        return sys::failure(
            sys::ErrorKind::invalid,
            fmt::format("the compiled file would have {} bytes, more than {}", total, max_file));
    body.reserve(total);
    for (std::size_t i = 0; i < table_count; ++i) {
        const std::string& bytes = static_cast<Table>(i) == Table::text ? text_ : tables_.at(i);
        body.resize((body.size() + File::table_alignment - 1) / File::table_alignment
                    * File::table_alignment);
        header.places.at(i) = {sizeof header + body.size(), bytes.size()};
        body += bytes;
    }
    header.size = sizeof header + body.size();
    const auto bytes_of_header = [&header] {
        return std::string_view(reinterpret_cast<const char*>(&header), sizeof header);
    };
    Checksum checksum;
    checksum.add(bytes_of_header().substr(checked_from));
    checksum.add(body);
    header.checksum = checksum.value();
    body.insert(0, bytes_of_header());
    return body;
}

sys::Result<File> File::open(const std::filesystem::path& path) {
    return open(TRY(sys::open_regular_file(path)), path.native());
}

sys::Result<File> File::open_kept(const std::filesystem::path& path) {
    const sys::UniqueFd file = TRY(sys::open_regular_file(path, O_RDONLY | O_NOFOLLOW));
    struct stat status{};
    if (::fstat(file.get(), &status) != 0) return sys::system_failure("cannot look at", path.native());
    const bool is_own = status.st_uid == 0 || status.st_uid == ::geteuid();
    if (!is_own || (status.st_mode & (S_IWGRP | S_IWOTH)) != 0)
        return unusable(path.native(), "may have been written by others");
    return open(file, path.native());
}

sys::Result<void> keep(std::string_view bytes, const std::filesystem::path& path) {
    TRY(sys::make_directory(path.parent_path(), S_IRWXU));
    return sys::write_file_atomically(path, bytes, S_IRUSR | S_IWUSR);
}

sys::Result<File> File::open(const sys::UniqueFd& file, std::string_view shown_as) {
    struct stat status{};
    if (::fstat(file.get(), &status) != 0) return sys::system_failure("cannot look at", shown_as);
    const auto size = static_cast<std::size_t>(status.st_size);
    if (size > max_file) return unusable(shown_as, "is too large");
    const Header header = TRY(read_header(file, size, shown_as));
    for (const Place& place : header.places)
        if (place.offset > size || place.size > size - place.offset || place.offset % table_alignment != 0)
            return unusable(shown_as, "is damaged");
    void* start = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, file.get(), 0);
    if (start == MAP_FAILED) return sys::system_failure("cannot map", shown_as);
    File mapped(start, size);
    TRY(check(start, header, shown_as));
    return mapped;
}

File::File(void* start, std::size_t size) : start_(start), size_(size) {
    const auto text = bytes_of(Table::text);
    text_ = {reinterpret_cast<const char*>(text.data()), text.size()};
}

File::File(File&& other) noexcept
    : start_(std::exchange(other.start_, nullptr)), size_(std::exchange(other.size_, 0)),
      text_(std::exchange(other.text_, {})) {}

File& File::operator=(File&& other) noexcept {
    std::swap(start_, other.start_);
    std::swap(size_, other.size_);
    std::swap(text_, other.text_);
    return *this;
}

File::~File() {
    if (start_ != nullptr) ::munmap(start_, size_);
}

/// The places were checked when the file was opened; another process might have changed them since.
std::span<const std::byte> File::bytes_of(Table table) const {
    Place place;
    const auto* bytes = static_cast<const std::byte*>(start_);
    std::memcpy(&place, bytes + checked_from + static_cast<std::size_t>(table) * sizeof place, sizeof place);
    if (place.offset > size_ || place.size > size_ - place.offset || place.offset % table_alignment != 0)
        return {};
    return {bytes + place.offset, static_cast<std::size_t>(place.size)};
}

} // namespace kmodguard::compiled
