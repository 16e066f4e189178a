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

namespace kmodguard::modules {
class ByteSource;
}

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

// The three things that they are read from; read_symbols() finds out which it is.

/// Whether the first line is one of a text of symbols: System.map, `nm vmlinux`, /proc/kallsyms.
[[nodiscard]] bool is_symbol_text(std::string_view text);

/// The symbols of lines "ADDRESS TYPE NAME", blanks between, the address hexadecimal. What belongs to a
/// module
/// ("NAME\t[MODULE]") is left out, and so is what has no address. The word size is known by the digits of the
/// first address. `label` names the text in errors, and is the symbols' source. Fails with `invalid` if a
/// line is something else, the text is the stub that Debian installs in place of System.map, or it holds no
/// symbol; with `denied` if all addresses are zero, as the kernel shows them to whom it does not trust.
/// Source: scripts/mksysmap, s_show of kernel/kallsyms.c.
[[nodiscard]] sys::Result<Symbols> parse_symbol_text(std::string_view text, std::string_view label);

/// The symbols of the ELF file's symbol table; nothing if it has none, as a stripped kernel. Left out are
/// those that are undefined, name a file or a section, or mark what kind of code follows (`$a`, `$x`). Fails
/// with `invalid` if the headers or the table are malformed. `label` names the file. Source: the ELF
/// specification (gABI), chapter 4; any class, byte order and machine.
[[nodiscard]] sys::Result<std::optional<Symbols>> read_elf_symbols(modules::ByteSource& source,
                                                                   std::string_view label);

/// The symbols of the kernel in `kernel`: its flat bytes, an ELF file, or the guest's physical memory.
/// Kernels 2.6.10 to 7.2, 32 and 64 bit, both byte orders. In a file they are where the kernel is linked to;
/// in memory, where it runs. Fails with `invalid` if there are no tables, they are damaged, or what they
/// yield is no kernel's symbols (fewer than 1000, not ascending, without the names that all kernels have),
/// and says which.
///
/// Symbols::banner() has no address if the kernel lists functions only (no CONFIG_KALLSYMS_ALL) and where its
/// bytes lie in memory is not known either: in a dump.
[[nodiscard]] sys::Result<Symbols> recover_symbols(std::span<const std::byte> kernel);

} // namespace kmodguard::symbols
