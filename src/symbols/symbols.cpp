// SPDX-License-Identifier: AGPL-3.0-only
//
// What kind of file symbols are read from, its bytes show: a System.map may be called anything, and so may a
// kernel.
#include "symbols/symbols.hpp"

#include "modules/image_source.hpp"
#include "symbols/kernel_bytes.hpp"
#include "symbols/kernel_image.hpp"
#include "sys/file.hpp"

#include <elf.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <new>
#include <optional>
#include <string>
#include <utility>

namespace kmodguard::symbols {
namespace {

using Bytes = std::span<const std::byte>;

bool is_elf(Bytes bytes) {
    return as_text(bytes).starts_with(ELFMAG);
}

/// Symbols that are there as such; nothing if this is neither a text of symbols nor an ELF file with some.
sys::Result<std::optional<Symbols>> read_plain(Bytes bytes, std::string_view label) {
    if (is_elf(bytes)) {
        modules::MemorySource source(bytes);
        return read_elf_symbols(source, label);
    }
    if (!is_symbol_text(as_text(bytes))) return std::nullopt;
    auto symbols = TRY(parse_symbol_text(as_text(bytes), label));
    return symbols;
}

/// From a kernel image; `form` is how it was compressed so far.
sys::Result<Symbols> recover(Bytes file, std::string_view label, std::string form) {
    const auto named = [label](const sys::Error& error) {
        return sys::failure(error.kind, fmt::format("{}: {}", label, error.what), error.hint);
    };
    const auto image = decompress_kernel(file);
    if (!image) return named(image.error());
    auto symbols = recover_symbols(image->bytes.empty() ? file : Bytes(image->bytes));
    if (!symbols) return named(symbols.error());
    if (!form.empty() && !image->form.empty()) form += ", ";
    form += image->form;
    symbols->set_source(
        fmt::format("{} of {}{}", symbols->source(), label, form.empty() ? "" : " (" + form + ")"));
    return symbols;
}

sys::Result<Symbols> read_decompressed(Bytes bytes, std::string_view label, std::string form) {
    auto symbols = TRY(read_plain(bytes, label));
    if (symbols) return std::move(*symbols);
    return recover(bytes, label, std::move(form));
}

sys::Result<Symbols> read_bytes(Bytes bytes, std::string_view label) {
    const auto codec = codec_of(bytes);
    if (!codec) return read_decompressed(bytes, label, "");
    const auto content = decompress_stream(*codec, bytes, max_kernel_image);
    if (!content)
        return sys::failure(content.error().kind, fmt::format("{}: {}", label, content.error().what),
                            content.error().hint);
    return read_decompressed(*content, label, std::string(to_string(*codec)));
}

/// A vmlinux with debug information may be larger than what is read whole, and most of it is of no interest.
sys::Result<std::optional<Symbols>> read_elf_file(const std::filesystem::path& path) {
    const auto file = TRY(sys::open_regular_file(path));
    struct stat status{};
    if (::fstat(file.get(), &status) != 0) return sys::system_failure("cannot examine", path.native());
    const auto& label = path.native();
    modules::FileSource source(file, static_cast<std::uint64_t>(status.st_size), label);
    std::array<std::byte, SELFMAG> magic{};
    if (source.size() < magic.size() || !source.read(0, magic) || !is_elf(magic)) return std::nullopt;
    return read_elf_symbols(source, label);
}

} // namespace

std::size_t Symbols::lower_bound(std::string_view wanted) const {
    const auto name = [this](const Entry& entry) { return name_of(entry); };
    return static_cast<std::size_t>(std::ranges::lower_bound(entries_, wanted, {}, name) - entries_.begin());
}

std::vector<std::uint64_t> Symbols::find(std::string_view wanted) const {
    std::vector<std::uint64_t> found;
    for (auto i = lower_bound(wanted); i < count() && at(i).name == wanted; ++i)
        found.push_back(at(i).address);
    return found;
}

std::vector<Symbol> Symbols::with_stem(std::string_view stem) const {
    std::vector<Symbol> found;
    for (auto i = lower_bound(stem); i < count() && at(i).name == stem; ++i)
        found.push_back(at(i));
    const auto prefix = std::string(stem) + '.';
    for (auto i = lower_bound(prefix); i < count() && at(i).name.starts_with(prefix); ++i)
        found.push_back(at(i));
    return found;
}

bool SymbolsBuilder::add(std::string_view name, std::uint64_t address) {
    if (name.empty() || name.size() > max_name) return true;
    auto& names = symbols_.names_;
    if (count() == max_symbols || names.size() > UINT32_MAX - max_name) return false;
    symbols_.entries_.push_back(
        {static_cast<std::uint32_t>(names.size()), static_cast<std::uint32_t>(name.size()), address});
    names += name;
    return true;
}

Symbols SymbolsBuilder::finish(std::string source) {
    auto& entries = symbols_.entries_;
    const auto key = [this](const Symbols::Entry& entry) {
        return std::pair(symbols_.name_of(entry), entry.address);
    };
    std::ranges::sort(entries, {}, key);
    const auto doubles = std::ranges::unique(entries, {}, key);
    entries.erase(doubles.begin(), doubles.end());
    symbols_.source_ = std::move(source);
    return std::move(symbols_);
}

sys::Result<Symbols> read_symbols(Bytes bytes, std::string_view label) {
    try {
        return read_bytes(bytes, label);
    } catch (const std::bad_alloc&) {
        return sys::failure(sys::ErrorKind::failed, fmt::format("not enough memory to read {}", label));
    }
}

sys::Result<Symbols> read_symbols(const std::filesystem::path& path) {
    auto symbols = TRY(read_elf_file(path));
    if (symbols) return std::move(*symbols);
    const auto content = TRY(sys::read_file(path, max_kernel_image));
    return read_symbols(std::as_bytes(std::span(content)), path.native());
}

} // namespace kmodguard::symbols
