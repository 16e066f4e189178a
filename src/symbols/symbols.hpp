// SPDX-License-Identifier: AGPL-3.0-only
//
// What a guest's kernel calls its functions, and where they lie. A kernel has some 200,000 symbols, of which
// an enforcement point wants a dozen by name: so they are kept sorted by name, the names in one string.
//
// A name is no key. Two files may each have a local function `init`, and a compiler splits and clones
// functions under names of its own. So every look-up shows all there are, and the caller says what it takes.
#pragma once

#include "sys/result.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kmodguard::symbols {

enum class WordSize : std::uint8_t { bits_32, bits_64 };

struct Symbol {
    std::string_view name; ///< lives as long as the Symbols it is from
    std::uint64_t address = 0;

    bool operator==(const Symbol&) const = default;
};

/// The kernel's own words about itself, "Linux version 6.1.0 (...) ...".
struct Banner {
    std::string text;                     ///< without the line end
    std::optional<std::uint64_t> address; ///< where the text begins in the kernel's memory

    bool operator==(const Banner&) const = default;
};

/// The symbols of one kernel, as it was linked: a kernel that randomises its address (KASLR) has moved all by
/// the same distance. Addresses of 32-bit kernels are not sign-extended. On big-endian 64-bit PowerPC
/// `load_module` is a function's descriptor and `.load_module` its code.
class Symbols {
  public:
    /// The addresses that go by this name, ascending and each once; empty if there is none. More than one
    /// means that the name alone does not say which.
    [[nodiscard]] std::vector<std::uint64_t> find(std::string_view name) const;

    /// `stem` itself and what a compiler made of it: `load_module`, `load_module.isra.0`,
    /// `load_module.constprop.0`; by name. A `.cold` or `.part.N` among them is a piece of the function,
    /// without its entry.
    [[nodiscard]] std::vector<Symbol> with_stem(std::string_view stem) const;

    [[nodiscard]] std::size_t count() const { return entries_.size(); }

    /// One symbol by its index in the order of names; `index` is less than count().
    [[nodiscard]] Symbol at(std::size_t index) const {
        return {name_of(entries_[index]), entries_[index].address};
    }

    [[nodiscard]] std::optional<WordSize> word_size() const { return word_size_; } ///< if the source says it
    [[nodiscard]] const std::optional<Banner>& banner() const { return banner_; }  ///< if the source has it

    /// Where they are from, for people: "the symbol table of vmlinux".
    [[nodiscard]] const std::string& source() const { return source_; }
    void set_source(std::string source) { source_ = std::move(source); }
    void set_banner(Banner banner) { banner_ = std::move(banner); }

  private:
    friend class SymbolsBuilder;

    struct Entry {
        std::uint32_t begin; ///< of the name, in names_
        std::uint32_t size;
        std::uint64_t address;
    };

    [[nodiscard]] std::string_view name_of(const Entry& entry) const {
        return std::string_view(names_).substr(entry.begin, entry.size);
    }
    /// The index of the first symbol that does not come before `name`.
    [[nodiscard]] std::size_t lower_bound(std::string_view name) const;

    std::string names_;
    std::vector<Entry> entries_; ///< by name, then by address
    std::optional<WordSize> word_size_;
    std::optional<Banner> banner_;
    std::string source_;
};

/// Collects symbols in any order.
class SymbolsBuilder {
  public:
    static constexpr std::size_t max_symbols = 4U << 20U; ///< the largest distribution kernels have 250,000
    static constexpr std::size_t max_name = 1024;         ///< bytes; KSYM_NAME_LEN is 512

    /// False if that is one symbol too many; names that are empty or too long are left out.
    [[nodiscard]] bool add(std::string_view name, std::uint64_t address);

    [[nodiscard]] std::size_t count() const { return symbols_.count(); }
    void set_word_size(WordSize size) { symbols_.word_size_ = size; }

    /// Sorts what was added, and drops what was added twice. The builder is of no use afterwards.
    [[nodiscard]] Symbols finish(std::string source);

  private:
    Symbols symbols_;
};

/// The symbols that a file has, whatever it is called: System.map, the text of /proc/kallsyms, a vmlinux with
/// its symbol table, or any kernel image that QEMU boots, of which they are recovered; each also compressed
/// with gzip, xz or zstd. At most 512 MiB, compressed or decompressed. Fails with `invalid` and what would do
/// instead, or with the error of reading the file.
[[nodiscard]] sys::Result<Symbols> read_symbols(const std::filesystem::path& path);

/// The same of bytes in memory; `label` names them in errors and in Symbols::source().
[[nodiscard]] sys::Result<Symbols> read_symbols(std::span<const std::byte> bytes, std::string_view label);

} // namespace kmodguard::symbols
